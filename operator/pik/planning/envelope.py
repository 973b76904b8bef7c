"""How an event is sent: a CloudEvent (1.0, structured, JSON) around the bytes that were captured.

The payload is spliced in as it is and never read, so that capture → replay → capture is byte-equal (law 10).

| attribute             | is                                                                               |
|-----------------------|----------------------------------------------------------------------------------|
| `id`                  | the producer's idempotency key, or else the event id                             |
| `subject`, `entityid` | the entity id; as `entityid` where the producer gave a `subject` of its own      |
| `pikrun`, `pikstream` | the replay marker                                                                |
| `pikattributes`       | JSON text of the producer's further attributes, where they cannot stand as such  |
| all others            | the producer's further attributes                                                |
"""

from __future__ import annotations

import re
from hashlib import sha256

import orjson

_NAME = re.compile(r"[a-z0-9]+")
_OURS = frozenset(
    {
        *("specversion", "id", "source", "type", "time", "data"),
        *("entityid", "pikrun", "pikstream", "pikattributes"),
    }
)


def cloud_event(
    *,
    event_id: str,
    source: str,
    event_type: str,
    entity_id: str,
    event_time_text: str,
    idempotency_key: str | None,
    attributes: str | None,
    data: bytes,
    run_id: str,
    stream_id: str,
) -> bytes:
    """The JSON text of one event as it is sent to a target. `attributes`: a JSON object, as it is stored."""
    head = {
        "specversion": "1.0",
        "id": event_id if idempotency_key is None else idempotency_key,
        "source": source,
        "type": event_type,
        "time": event_time_text,
        "pikrun": run_id,
        "pikstream": stream_id,
    }
    further = b""
    names = {} if attributes is None else orjson.loads(attributes)
    if attributes is not None and names:
        if _can_stand(names):
            further = b"," + attributes.strip().encode()[1:-1]
        else:
            head["pikattributes"] = attributes
            names = {}
    head["entityid" if "subject" in names else "subject"] = entity_id
    if "datacontenttype" not in names:
        head["datacontenttype"] = "application/json"
    return orjson.dumps(head)[:-1] + further + b',"data":' + data + b"}"


def delivery_key(event_id: str, run_id: str, copy: str = "") -> str:
    """What a target can tell repeats of a message by: the same whenever this run sends this event, another in
    every other run. `copy`: where a repeat of the event lies, for runs that send those too. At most 98
    characters of a–z, 0–9 and dots (an SQS MessageDeduplicationId takes 128)."""
    key = f"{event_id}.{run_id[:16]}"
    return f"{key}.{sha256(copy.encode()).hexdigest()[:16]}" if copy else key


def _can_stand(names: dict[str, object]) -> bool:
    """Whether these can be attributes of a CloudEvent beside ours: by their names and types."""
    return all(
        _NAME.fullmatch(name) and name not in _OURS and isinstance(value, str | int | float | bool)
        for name, value in names.items()
    )
