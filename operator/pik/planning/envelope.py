"""How an event is sent: a CloudEvent (1.0, structured, JSON) around the bytes that were captured.

The payload is spliced in as it is and never read, so that capture → replay → capture is byte-equal (law 10).
`pikrun` and `pikstream` mark it as a replay; `id` is the idempotency key that the producer gave, or else the
event id, so that a capture of it finds the same event again.
"""

from __future__ import annotations

from hashlib import sha256

import orjson

from pik.domain.instants import Instant

_OWN = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"})


def cloud_event(
    *,
    event_id: str,
    source: str,
    event_type: str,
    entity_id: str,
    event_time: Instant,
    event_time_text: str,
    idempotency_key: str | None,
    attributes: str | None,
    data: bytes,
    run_id: str,
    stream_id: str,
) -> bytes:
    """The JSON text of one event as it is sent to a target."""
    head = {
        "specversion": "1.0",
        "id": event_id if idempotency_key is None else idempotency_key,
        "source": source,
        "type": event_type,
        "subject": entity_id,
        "time": event_time_text or event_time.exact_text,
        "datacontenttype": "application/json",
        "pikrun": run_id,
        "pikstream": stream_id,
    }
    if attributes is not None:
        head = {**{k: v for k, v in orjson.loads(attributes).items() if k not in _OWN}, **head}
    return orjson.dumps(head)[:-1] + b',"data":' + data + b"}"


def delivery_key(event_id: str, run_id: str, copy: str = "") -> str:
    """What a target can tell repeats of a message by: the same whenever this run sends this event, another in
    every other run. `copy`: where a repeat of the event lies, for runs that send those too. At most 113
    characters of a–z, 0–9 and dots (an SQS MessageDeduplicationId takes 128)."""
    key = f"{event_id}.{run_id[:16]}"
    return f"{key}.{sha256(copy.encode()).hexdigest()[:16]}" if copy else key
