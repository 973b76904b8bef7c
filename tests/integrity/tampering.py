"""Every way in which a stream's bucket and table can be changed behind its back, as a table: what is done,
and the object that a verification must name for it.

Attributes come from the structs themselves, so that one that is added is tampered with too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from integrity.bench import START, Bench, arrival, arrivals
from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.identity import fingerprint
from pik.domain.instants import Instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import GenerationRecord, SegmentEntry, SegmentHead, SegmentID, TimeRange
from pik.execution.ownership import Claimant, OwnerRecord
from pik.execution.parquet import SCHEMA, ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.seals import Seal, SealedObject, seal_segments
from pik.execution.stream import Deduplication
from pik.execution.verify.pages import chunks_of
from pik.ports.index import GenerationState, Reservation
from pik.ports.objects import StoredObject

NEWEST = 4  # generation
OWNER = Claimant("here", "default", "sensors")
CODEC = ParquetCodec()


@dataclass(frozen=True)
class Change:
    """`do` tampers and returns the key that is to be named. `rows`: whether rows of it are named too, or it
    is said that each is as it was. `note`: what is found and is no error, since it is worth nothing.
    `sealed`: a later seal says what it was, so that no rebuilt index makes it good."""

    name: str
    do: Callable[[Bench], str]
    rows: bool = False
    note: bool = False
    sealed: bool = False

    def __str__(self) -> str:
        return self.name


async def scene(deduplication: Deduplication) -> Bench:
    """Events, repeats and conflicts in sealed segments of several generations, a void, three seals; a
    generation record and segments that no seal names yet."""
    bench = Bench(deduplication)
    stream = bench.stream()
    record = OwnerRecord(stream.layout.stream_id, OWNER.cluster, OWNER.namespace, OWNER.name, epoch=3)
    await stream.objects.create(stream.layout.owner, msgspec.json.encode(record))
    await reindex(stream, bench.table.ensure)
    for seed in range(3):
        await bench.ingest(*arrivals(20, seed))
        await bench.ingest(*arrivals(4, seed), arrival(f"{seed}-0", "another"))
        await seal_segments(stream, settle=0)
        if seed == 0:
            await bench.void()
            await reindex(stream, bench.table.ensure)
            await reindex(stream, bench.table.ensure)
    await reindex(stream, bench.table.ensure)
    await bench.ingest(*arrivals(20, 100))
    await bench.ingest(*arrivals(20, 101))
    bench.clock.advance(120)
    return bench


def full(bench: Bench) -> list[str]:
    """The keys of segments with 20 rows: the first is sealed, the last is not."""
    return [key for key in bench.raw() if (entry := entry_of(bench, key)) and entry.rows == 20]


def entry_of(bench: Bench, key: str) -> SegmentEntry | None:
    return bench.table.segments.get(bench.stream().layout.segment_of(key))


def segments() -> Iterator[Change]:
    """Of the object of a segment, sealed or not."""
    for which, sealed in ((0, "sealed"), (-1, "unsealed")):
        for name, body in BODIES.items():
            if sealed == "unsealed" and name.rsplit(" ", 1)[-1] in OTHER_COLUMNS:
                continue

            def overwrite(bench: Bench, body: Body = body, which: int = which) -> str:
                key = full(bench)[which]
                other = full(bench)[1]
                bench.overwrite(key, body(bench.body(key), bench.body(other)))
                return key

            yield Change(
                f"{sealed} segment: {name}", overwrite, rows=name != "a void", sealed=sealed == "sealed"
            )

        def remove(bench: Bench, which: int = which) -> str:
            key = full(bench)[which]
            bench.remove(key)
            return key

        def exchange(bench: Bench, which: int = which) -> str:
            one, other = full(bench)[which], full(bench)[1]
            first = bench.body(one)
            bench.overwrite(one, bench.body(other))
            bench.overwrite(other, first)
            return one

        yield Change(f"{sealed} segment: removed", remove, rows=True, sealed=sealed == "sealed")
        yield Change(f"{sealed} segment: exchanged with another", exchange, rows=True, sealed=True)


Body = Callable[[bytes, bytes], bytes]


def _flip(body: bytes, position: int) -> bytes:
    damaged = bytearray(body)
    damaged[position] ^= 0x10
    return bytes(damaged)


def _in_column(column: str, part: float) -> Body:
    def flip(body: bytes, _: bytes) -> bytes:
        (chunk,) = (chunk for chunk in chunks_of(body) if chunk.column == column)
        return _flip(body, chunk.start + int((chunk.end - 1 - chunk.start) * part))

    return flip


def _rewritten(change: Callable[[list[Row]], list[Row]], head: Callable[[SegmentHead], SegmentHead]) -> Body:
    """A valid segment, with other rows or another head."""

    def rewrite(body: bytes, _: bytes) -> bytes:
        found, rows = CODEC.decode(body)
        return CODEC.encode(head(found), change(rows))

    return rewrite


def _same(head: SegmentHead) -> SegmentHead:
    return head


def _forged(rows: list[Row]) -> list[Row]:
    """Another payload, with hashes that fit it, under the same key."""
    old = rows[7].arrival
    data = b'{"v":"forged"}'
    new: Arrival = msgspec.structs.replace(
        old,
        data=data,
        payload_sha256=_sha256(data),
        fingerprint=fingerprint(old.event_type, old.entity_id, old.event_time, data, ()),
    )
    return [*rows[:7], msgspec.structs.replace(rows[7], arrival=new), *rows[8:]]


def _sha256(data: bytes) -> str:
    return sha256(data).hexdigest()


def _outcomes(rows: list[Row]) -> list[Row]:
    return [msgspec.structs.replace(rows[0], outcome=Outcome.REPLAYED), *rows[1:]]


def _later(head: SegmentHead) -> SegmentHead:
    stamp = Instant(head.ingest_time.micros + 3_600_000_000)
    return SegmentHead(head.stream_id, segment_id(stamp, head.segment.id[12:], 1), stamp)


BODIES: dict[str, Body] = {
    "first byte": lambda body, _: _flip(body, 0),
    "last byte": lambda body, _: _flip(body, -1),
    "magic at the end": lambda body, _: _flip(body, -4),
    "length of the footer": lambda body, _: _flip(body, -8),
    "first byte of the footer": lambda body, _: _flip(body, _footer(body)),
    "middle of the footer": lambda body, _: _flip(body, (_footer(body) + len(body) - 8) // 2),
    **{
        f"{where} of column {column}": _in_column(column, part)
        for column in SCHEMA.names
        for where, part in (("first byte", 0), ("middle", 0.5), ("last byte", 1))
    },
    "truncated by a byte": lambda body, _: body[:-1],
    "truncated by half": lambda body, _: body[: len(body) // 2],
    "emptied": lambda *_: b"",
    "a byte more": lambda body, _: body + b"\0",
    "twice itself": lambda body, _: body + body,
    "a byte before": lambda body, _: b"\0" + body,
    "a line of text": lambda *_: b"see the other bucket\n",
    "the body of another segment": lambda _, other: other,
    "the same rows as of another stream": _rewritten(
        list, lambda head: SegmentHead("stream-2", head.segment, head.ingest_time)
    ),
    "the same rows as of another time": _rewritten(list, _later),
    "a version of before, with a row less": _rewritten(lambda rows: rows[:-1], _same),
    "a row more": _rewritten(lambda rows: [*rows, Row(99, arrival("more"), Outcome.ACCEPTED)], _same),
    "a void": _rewritten(lambda _: [], _same),
    "rows in another order": _rewritten(lambda rows: rows[::-1], _same),
    "a forged payload with hashes that fit": _rewritten(_forged, _same),
    "another outcome": _rewritten(_outcomes, _same),
}


OTHER_COLUMNS = frozenset(SCHEMA.names) - {"data", "event_time"}
"""Tampered with in what is sealed only: that they are found does not depend on it."""


def _footer(body: bytes) -> int:
    return len(body) - 8 - int.from_bytes(body[-8:-4], "little")


# the manifest


def manifest() -> Iterator[Change]:
    for which, sealed in ((0, "sealed"), (-1, "unsealed")):
        for name, value in ENTRY.items():

            def edit(bench: Bench, which: int = which, name: str = name, value: object = value) -> str:
                key = full(bench)[which]
                segment = bench.stream().layout.segment_of(key)
                bench.edit_manifest(segment, lambda entry: msgspec.structs.replace(entry, **{name: value}))
                # a row that says that it is another's stops the reading of the manifest as a whole
                return key if name != "segment" else bench.stream().layout.generation(NEWEST)

            yield Change(f"manifest row of a {sealed} segment: {name}", edit)

        def remove(bench: Bench, which: int = which) -> str:
            key = full(bench)[which]
            del bench.table.segments[bench.stream().layout.segment_of(key)]
            return key

        yield Change(f"manifest row of a {sealed} segment: removed", remove)

    def add_absent(bench: Bench) -> str:
        entry = entry_of(bench, full(bench)[0])
        assert entry is not None
        other = segment_id(START, "e" * 20, NEWEST)
        key = bench.stream().layout.segment(other)
        bench.table.segments[other] = msgspec.structs.replace(entry, segment=other, key=key)
        return key

    def add_uncounted(bench: Bench) -> str:
        key = bench.straggler()
        entry = entry_of(bench, full(bench)[0])
        assert entry is not None
        segment = bench.stream().layout.segment_of(key)
        bench.table.segments[segment] = msgspec.structs.replace(entry, segment=segment, key=key)
        return key

    yield Change("manifest row of an object that is not there: added", add_absent, rows=True)
    yield Change("manifest row of a segment that does not count: added", add_uncounted)


ENTRY: dict[str, object] = {
    "segment": SegmentID("0" * 32, 1),
    "key": "elsewhere",
    "sha256": "0" * 64,
    "bytes": 1,
    "rows": 19,
    "ingest_time": Instant(5),
    "known_from": Instant(0),
    "event_time": TimeRange(Instant(0), Instant(1)),
    "received_time": None,
    "outcomes": {"RECORDED": 21},
    "sources": ("nobody",),
    "event_types": (),
    "sources_complete": False,
    "event_types_complete": False,
}
assert set(ENTRY) == set(SegmentEntry.__struct_fields__)


# the index


def entries() -> Iterator[Change]:
    """Of an `OnWrite` stream: one event's entry, which is in the first segment, in row 4."""
    event_id = arrivals(20, 0)[4].event_id
    for name, value in ENTRIES.items():

        def edit(bench: Bench, name: str = name, value: object = value) -> str:
            old = bench.table.entries.pop(event_id)
            new = msgspec.structs.replace(old, **{name.partition(",")[0]: value})
            bench.table.entries[new.event_id] = new
            return full(bench)[0]

        yield Change(f"index entry: {name}", edit, rows=True)

    def remove(bench: Bench) -> str:
        del bench.table.entries[event_id]
        return full(bench)[0]

    def add(bench: Bench, segment: SegmentID, generation: int) -> str:
        old = bench.table.entries[event_id]
        bench.table.entries["f" * 64] = msgspec.structs.replace(
            old, event_id="f" * 64, entity_id="nobody", segment=segment, generation=generation
        )
        return bench.stream().layout.segment(segment)

    absent, there = segment_id(START, "d" * 20, 1), lambda bench: bench.table.entries[event_id].segment
    yield Change("index entry: removed", remove, rows=True)
    yield Change("index entry of no event: added", lambda bench: add(bench, absent, NEWEST), note=True)
    yield Change("index entry of no event in a segment: added", lambda b: add(b, there(b), NEWEST), note=True)
    yield Change("index entry of a generation to come: added", lambda b: add(b, absent, NEWEST + 1))
    yield Change("index entry of a generation before its segment's: added", lambda b: add(b, absent, 0))


ENTRIES: dict[str, object] = {
    "event_id": "e" * 64,
    "fingerprint": "0" * 64,
    "segment": SegmentID("013fc5e0a000" + "0" * 20, 1),
    "row": 5,
    "generation, older": NEWEST - 1,
    "generation, newer": NEWEST + 1,
    "entity_id": "somebody",
    "event_time": Instant(START.micros, "1"),
}
assert {name.partition(",")[0] for name in ENTRIES} == set(Reservation.__struct_fields__)


def generation_item() -> Iterator[Change]:
    states: dict[str, object] = {"number": NEWEST + 1, "nonce": "0" * 32}
    for name, value in states.items():

        def edit(bench: Bench, name: str = name, value: object = value) -> str:
            assert bench.table.generation is not None
            bench.table.generation = msgspec.structs.replace(bench.table.generation, **{name: value})
            return bench.stream().layout.generation(NEWEST)

        yield Change(f"generation item: {name}", edit)
    assert {*states, "ready"} == set(GenerationState.__struct_fields__)


# what lies beside raw


def records() -> Iterator[Change]:
    """Of generation records: those that were the newest when they were sealed, one that was not, and the
    newest, which is not sealed."""
    for number, what in ((1, "first"), (2, "passed over"), (3, "sealed"), (NEWEST, "unsealed")):
        for name in GenerationRecord.__struct_fields__:

            def edit(bench: Bench, number: int = number, name: str = name) -> str:
                key = bench.stream().layout.generation(number)
                record = msgspec.json.decode(bench.body(key), type=GenerationRecord)
                value = {
                    "number": number + 1,
                    "nonce": "0" * 32,
                    "counting": record.counting[1:] or (SegmentID("0" * 32, 1),),
                }[name]
                changed = msgspec.structs.replace(record, **{name: value})
                bench.overwrite(key, msgspec.json.encode(changed))
                # what an unsealed record leaves out is named itself: its segment is sealed, or indexed
                gone = number == NEWEST and name == "counting"
                return bench.stream().layout.segment(record.counting[0]) if gone else key

            yield Change(f"{what} generation record: {name}", edit)
        for harm in ("removed", "garbage"):

            def damage(bench: Bench, number: int = number, harm: str = harm) -> str:
                key = bench.stream().layout.generation(number)
                bench.remove(key) if harm == "removed" else bench.overwrite(key, b"{}")
                return bench.stream().layout.generation(3) if (number, harm) == (NEWEST, "removed") else key

            yield Change(f"{what} generation record: {harm}", damage)

    def more(bench: Bench, name: str) -> str:
        layout = bench.stream().layout
        record = msgspec.json.decode(bench.body(layout.generation(NEWEST)), type=GenerationRecord)
        key = f"{layout.generations}{name}.json"
        number = int(name) if name.isdecimal() else NEWEST + 1
        body = msgspec.json.encode(GenerationRecord(number, "0" * 32, record.counting))
        bench.bucket.objects[key] = StoredObject(body, "", bench.clock.now())
        return key

    yield Change("generation record: added", lambda bench: more(bench, f"{NEWEST + 1:08d}"))
    yield Change("generation record: added under a name that is none", lambda bench: more(bench, "next"))


def seals() -> Iterator[Change]:
    for number, what in ((1, "first"), (2, "middle"), (3, "last")):
        for name, value in SEAL.items():

            def edit(bench: Bench, number: int = number, name: str = name, value: object = value) -> str:
                key = bench.stream().layout.seal(number)
                seal = msgspec.json.decode(bench.body(key), type=Seal)
                bench.overwrite(key, msgspec.json.encode(msgspec.structs.replace(seal, **{name: value})))
                return _named(bench, number, name)

            yield Change(f"{what} seal: {name}", edit, sealed=number < 3)
        for harm in ("removed", "garbage", "a space more"):

            def damage(bench: Bench, number: int = number, harm: str = harm) -> str:
                key = bench.stream().layout.seal(number)
                if harm == "removed":
                    bench.remove(key)
                else:
                    bench.overwrite(key, b"{}" if harm == "garbage" else bench.body(key) + b" ")
                return _named(bench, number, harm)

            yield Change(f"{what} seal: {harm}", damage, sealed=number < 3)

    def more(bench: Bench, **changes: object) -> str:
        layout = bench.stream().layout
        last = bench.body(layout.seal(3))
        seal = msgspec.json.decode(last, type=Seal)
        new = msgspec.structs.replace(seal, number=4, previous=_sha256(last), **changes)
        key = layout.seal(4)
        bench.bucket.objects[key] = StoredObject(msgspec.json.encode(new), "", bench.clock.now())
        return key

    def unsealed(bench: Bench) -> tuple[SealedObject, ...]:
        key = full(bench)[-1]
        return (SealedObject(key, _sha256(bench.body(key)), len(bench.body(key))),)

    yield Change("seal: one added that seals again", more)
    yield Change("seal: one added that seals nothing", lambda bench: more(bench, segments=()))
    yield Change(
        "seal: one added that seals what is there",
        lambda bench: more(bench, segments=unsealed(bench), cut=_now(bench), sealed_at=_now(bench)),
        note=True,
    )


def _now(bench: Bench) -> str:
    return bench.clock.now().text


def _named(bench: Bench, number: int, harm: str) -> str:
    """A seal that changed is named by the next one, which says another hash; the last one by the index. One
    that is no seal is named itself, and so is one that is gone."""
    itself = number == 3 or harm in ("removed", "garbage", "number")
    return bench.stream().layout.seal(number if itself else number + 1)


SEAL: dict[str, object] = {
    "stream_id": "stream-2",
    "number": 7,
    "nonce": "0" * 32,
    "previous": "0" * 64,
    "sealed_at": "2013-07-10T23:00:00.000000Z",
    "cut": "2013-07-10T00:00:01.000000Z",
    "generation": SealedObject("kit/generations/00000001.json", "0" * 64, 7),
    "segments": (),
    "generations": (SealedObject("kit/generations/00000009.json", "0" * 64, 7),),
    "owner": None,
}
assert set(SEAL) == set(Seal.__struct_fields__)


def owner() -> Iterator[Change]:
    values = {"stream_id": "stream-2", "cluster": "there", "namespace": "other", "name": "x", "epoch": 4}
    assert set(values) == set(OwnerRecord.__struct_fields__)
    for name, value in values.items():

        def edit(bench: Bench, name: str = name, value: object = value) -> str:
            key = bench.stream().layout.owner
            record = msgspec.json.decode(bench.body(key), type=OwnerRecord)
            bench.overwrite(key, msgspec.json.encode(msgspec.structs.replace(record, **{name: value})))
            return key

        yield Change(f"owner record: {name}", edit, sealed=True)

    def garbage(bench: Bench) -> str:
        bench.overwrite(bench.stream().layout.owner, b"{}")
        return bench.stream().layout.owner

    def remove(bench: Bench) -> str:
        bench.remove(bench.stream().layout.owner)
        return bench.stream().layout.owner

    yield Change("owner record: garbage", garbage)
    yield Change("owner record: removed", remove)


def foreign() -> Iterator[Change]:
    def stranger(bench: Bench) -> str:
        key = bench.stream().layout.raw + "notes.txt"
        bench.bucket.objects[key] = StoredObject(b"", "", bench.clock.now())
        return key

    def planted(bench: Bench) -> str:
        """A segment that counts by its name, and that no writer wrote."""
        segment = segment_id(Instant(START.micros + 7_000_000), "a" * 20, NEWEST)
        head = SegmentHead("stream-1", segment, Instant(START.micros + 7_000_000))
        key = Layout("kit/", "stream-1").segment(segment)
        body = CODEC.encode(head, [Row(0, arrival("planted"), Outcome.ACCEPTED)])
        bench.bucket.objects[key] = StoredObject(body, "", START)
        return key

    yield Change("an object that is no segment: added", stranger, note=True)
    yield Change("a segment that nobody wrote: added", planted)


ALL = [
    *segments(),
    *manifest(),
    *entries(),
    *generation_item(),
    *records(),
    *seals(),
    *owner(),
    *foreign(),
]
