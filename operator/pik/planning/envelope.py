"""How events are sent: each a CloudEvent (1.0, structured, JSON) around the bytes that were captured.

The payload is spliced in as it is and never read, so that capture → replay → capture is byte-equal (law 10).

| attribute             | is                                                                               |
|-----------------------|----------------------------------------------------------------------------------|
| `id`                  | the producer's idempotency key, or else the event id                             |
| `subject`, `entityid` | the entity id; as `entityid` where the producer gave a `subject` of its own      |
| `pikrun`, `pikstream` | the replay marker                                                                |
| `pikkey`              | the key by which repeats can be told, to targets that have no other place for it |
| `pikreplay`           | namespace/name of the ReplayJob, to event buses                                  |
| `pikattributes`       | JSON text of the producer's further attributes, where they cannot stand as such  |
| all others            | the producer's further attributes                                                |
"""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pik.planning.delivery_key import copy_mark, run_mark
from pik.planning.json_columns import Part, joined, quoted
from pik.planning.replay.events import has_repeats

_NAME = re.compile(r"[a-z0-9]+")
_OURS = frozenset(
    {
        *("specversion", "id", "source", "type", "time", "data"),
        *("entityid", "pikrun", "pikstream", "pikattributes", "pikkey", "pikreplay"),
    }
)


def cloud_events(events: pa.RecordBatch, run_id: str, stream_id: str) -> pa.StringArray:
    """The JSON text of each event as it is sent to a target. `events`: columns of planning.replay.events."""

    def column(name: str) -> pa.StringArray:
        return events.column(name)

    further = _further_columns(column("attributes"))
    return joined(
        '{"specversion":"1.0","id":',
        *quoted(pc.coalesce(column("idempotency_key"), column("event_id"))),
        ',"source":',
        *quoted(column("source")),
        ',"type":',
        *quoted(column("event_type")),
        ',"time":',
        *quoted(column("event_time_text")),
        f',"pikrun":"{run_id}","pikstream":{orjson.dumps(stream_id).decode()}',
        further.packed,
        further.entity_name,
        *quoted(column("entity_id")),
        further.content_type,
        further.spread,
        ',"data":',
        column("data"),
        "}",
    )


def delivery_keys(events: pa.RecordBatch, run_id: str) -> tuple[Part, ...]:
    """`planning.delivery_key` of each, in parts to be joined."""
    keys = (events.column("event_id"), run_mark(run_id))
    if not has_repeats(events):
        return keys
    places = zip(*(events.column(name).to_pylist() for name in ("segment", "row", "repeat")), strict=True)
    marks = (copy_mark(f"{segment}/{row}") if repeat else "" for segment, row, repeat in places)
    return (*keys, pa.array(marks, pa.string()))


class _Further(NamedTuple):
    """What the producers' further attributes make of an envelope, as JSON text between its members: of one
    event, or as columns."""

    packed: Part = ""
    entity_name: Part = ',"subject":'
    content_type: Part = ',"datacontenttype":"application/json"'
    spread: Part = ""


def _further_columns(attributes: pa.StringArray) -> _Further:
    if attributes.null_count == len(attributes):
        return _Further()
    rows = [_further(text) for text in attributes.to_pylist()]
    return _Further(*(pa.array(column, pa.string()) for column in zip(*rows, strict=True)))


def _further(attributes: str | None) -> _Further:
    names = {} if attributes is None else orjson.loads(attributes)
    if attributes is None or not names:
        return _Further()
    if not _can_stand(names):
        return _Further(packed=f',"pikattributes":{orjson.dumps(attributes).decode()}')
    plain = _Further(spread="," + attributes.strip()[1:-1])
    if "subject" in names:
        plain = plain._replace(entity_name=',"entityid":')
    if "datacontenttype" in names:
        plain = plain._replace(content_type="")
    return plain


def _can_stand(names: dict[str, object]) -> bool:
    """Whether these can be attributes of a CloudEvent beside ours: by their names and types."""
    return all(
        _NAME.fullmatch(name) and name not in _OURS and isinstance(value, str | int | float | bool)
        for name, value in names.items()
    )
