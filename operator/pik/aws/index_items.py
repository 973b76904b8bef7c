"""How the index's values lie in a DynamoDB table (design: Storage, Index).

| item       | pk            | sk         | attributes                                        |
|------------|---------------|------------|---------------------------------------------------|
| event      | the event id  | `e`        | e: entity id, t: time, v: the reservation         |
| segment    | `#segments`   | segment id | d: the manifest row as JSON                       |
| generation | `#generation` | `#`        | n: number, o: nonce, r: ready                     |
| lease      | `#leases`     | its name   | h: holder, u: until, microseconds since the epoch |
| mark       | `#run#` + run | its part   | n: number, d: the text                            |

`v` is `generation#segment#row#fingerprint` with a generation of fixed width, so that one short attribute
serves both conditions: "has this segment and generation" is a prefix, "has an older generation" is text
order. `t` is `sort_text#event_id`: `#` sorts before every digit, so it sorts by exact time, then event id.
`x`, where items expire, is DynamoDB's time to live in Unix seconds. Names are short because every item pays
for them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pik.domain.errors import Tampered
from pik.domain.instants import parse_instant
from pik.domain.segments import SegmentEntry, SegmentID, parse_segment_id
from pik.ports.index import GenerationState, Reservation

Item = dict[str, Any]

BY_ENTITY = "by_entity"  # the secondary index: e, then t
TIME_TO_LIVE = "x"
EVENT = "e"
SEGMENTS = "#segments"
LEASES = "#leases"
GENERATION_KEY: Item = {"pk": {"S": "#generation"}, "sk": {"S": "#"}}
_DAY_SECONDS = 86_400

SCHEMA: dict[str, Any] = {
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "e", "t")
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": BY_ENTITY,
            "KeySchema": [
                {"AttributeName": "e", "KeyType": "HASH"},
                {"AttributeName": "t", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}
"""Of a CreateTable."""


def event_key(event_id: str) -> Item:
    return {"pk": {"S": event_id}, "sk": {"S": EVENT}}


def event_parameters(reservation: Reservation) -> list[Item]:
    """pk, e, t and v, in that order."""
    r = reservation
    return [
        {"S": r.event_id},
        {"S": r.entity_id},
        {"S": f"{r.event_time.sort_text}#{r.event_id}"},
        {"S": f"{holding_prefix(r)}{r.row}#{r.fingerprint}"},
    ]


def event_item(reservation: Reservation) -> Item:
    pk, entity, time, value = event_parameters(reservation)
    return {"pk": pk, "sk": {"S": EVENT}, "e": entity, "t": time, "v": value}


def reservation_of(item: Item) -> Reservation:
    """Raises `Tampered` for an item that nobody writes so."""
    try:
        generation, segment, row, fingerprint = item["v"]["S"].split("#")
        time, _, event_id = item["t"]["S"].partition("#")
        found = Reservation(
            event_id=item["pk"]["S"],
            fingerprint=fingerprint,
            segment=parse_segment_id(segment),
            row=int(row),
            generation=int(generation),
            entity_id=item["e"]["S"],
            event_time=parse_instant(time + "Z"),
        )
    except (KeyError, ValueError) as error:
        raise Tampered(f"index item {item['pk']['S']}: {error}") from error
    if event_id != found.event_id:
        raise Tampered(f"index item {found.event_id}: its place in time is that of {event_id}")
    return found


def holding_prefix(reservation: Reservation) -> str:
    """What `v` begins with while the entry has this segment and generation."""
    return f"{generation_prefix(reservation.generation)}{reservation.segment}#"


def generation_prefix(generation: int) -> str:
    """Sorts after every `v` of an older generation, and before every one of this or a newer."""
    return f"{generation:08d}#"


def segment_item(entry: SegmentEntry) -> Item:
    return {
        "pk": {"S": SEGMENTS},
        "sk": {"S": str(entry.segment)},
        "d": {"S": msgspec.json.encode(entry).decode()},
    }


def segment_entry_of(item: Item) -> SegmentEntry:
    """Raises `Tampered` for an item that nobody writes so."""
    name = item["sk"]["S"]
    try:
        entry = msgspec.json.decode(item["d"]["S"], type=SegmentEntry)
    except (KeyError, ValueError) as error:
        raise Tampered(f"manifest row {name}: {error}") from error
    if str(entry.segment) != name:
        raise Tampered(f"manifest row {name}: it says that it is of segment {entry.segment}")
    return entry


def generation_item(number: int, nonce: str, *, ready: bool) -> Item:
    return {**GENERATION_KEY, "n": {"N": str(number)}, "o": {"S": nonce}, "r": {"BOOL": ready}}


def generation_state_of(item: Item) -> GenerationState:
    return GenerationState(int(item["n"]["N"]), item["o"]["S"], item["r"]["BOOL"])


def mark_item(run: str, part: int, number: int, text: str) -> Item:
    return {**mark_key(run, part), "n": {"N": str(number)}, "d": {"S": text}}


def mark_key(run: str, part: int) -> Item:
    return {**marks_key(run), "sk": {"S": f"{part:04d}"}}


def marks_key(run: str) -> Item:
    """What the marks of a run have in common."""
    return {"pk": {"S": f"#run#{run}"}}


def mark_of(item: Item) -> tuple[int, str]:
    """Part and text."""
    return int(item["sk"]["S"]), item["d"]["S"]


def expiry(segment: SegmentID, retention_days: int) -> Item:
    """The end of what a segment brought, a day after its retention so that no clock is ahead of it."""
    return {"N": str(segment.stamp_millis // 1000 + (retention_days + 1) * _DAY_SECONDS)}
