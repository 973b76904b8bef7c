"""Which segments have arrivals of an entity, and which have arrivals of the same event ids: files that are
derived from segments, beside their local copies.

The Bloom filters in segments do not tell enough: at one false hit in a hundred, a thousand ids hit every
segment. Here each arrival is 44 bits of its event id and of its entity's SHA-256, sorted, 24 bytes in all. It
is found by bisection, and no more than the blocks that are looked at is checked. A collision names a segment
too many, never one too few; a file whose checksums do not hold is `Damaged`.
"""

from __future__ import annotations

import mmap
import struct
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from zlib import crc32

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pik.execution.reading.relation import connect, lock_to, scan

MOST_ROWS = 2_000_000
"""Of one file: what making it takes of memory is bounded by it."""

MOST_SEGMENTS = 1 << 20
"""Of one file: as many as its keys can tell apart."""

_SUFFIX = ".places"
_PLACES = MOST_SEGMENTS
_PLACE_BITS = _PLACES.bit_length() - 1  # of a segment's number in its file
_DIGITS = 11  # hexadecimal: 44 bits
_BLOCK = 64  # keys under one checksum
_PREFIX = struct.Struct("=8sII")  # what it is and its byte order, length and CRC-32 of the head
_MAGIC = b"pikpla1" + sys.byteorder[:1].encode()
_KEYS = """
SELECT coalesce(try_cast('0x' || right(event_id, {digits}) AS UBIGINT), 0) AS event,
    ('0x' || left(sha256(entity_id), {digits}))::UBIGINT AS entity, file_index::UBIGINT AS place
FROM {files} WHERE outcome IN ('RECORDED', 'REPLAYED')
"""


class Damaged(Exception):
    """A file's bytes are not what was written: to be made anew."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class _Head(msgspec.Struct):
    segments: list[tuple[str, str]]  # name and SHA-256; a key's last 20 bits are a place in this list
    rows: int


class Whereabouts:
    """One file. Raises `Damaged` wherever it is looked at. `segments`: name and SHA-256 of those it is of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < _PREFIX.size:
                raise Damaged(path)
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, length, crc = _PREFIX.unpack_from(whole)
        head = whole[_PREFIX.size : _PREFIX.size + length]
        if magic != _MAGIC or crc32(head) != crc:
            raise Damaged(path)
        words = struct.unpack_from("=Q", head)[0]
        told = msgspec.msgpack.decode(head[8 : 8 + words], type=_Head)
        self.segments, self.rows = told.segments, told.rows
        blocks = -(-told.rows // _BLOCK)
        at = _padded(8 + words)
        fences, sums = [], []
        for _ in range(2):
            fences.append(head[at : at + 8 * blocks].cast("Q"))
            at += 8 * blocks
        for _ in range(3):
            sums.append(head[at : at + 4 * blocks].cast("I"))
            at += 4 * blocks
        at = _padded(_PREFIX.size + length)
        if size != at + 3 * 8 * told.rows:
            raise Damaged(path)
        columns = [whole[at + 8 * told.rows * n : at + 8 * told.rows * (n + 1)].cast("Q") for n in range(3)]
        self._events = _Column(path, columns[0], sums[0])
        self._entities = _Column(path, columns[1], sums[1])
        self._events_of = _Column(path, columns[2], sums[2])
        self._event_fences, self._entity_fences = fences

    def count(self, entities: Iterable[str]) -> int:
        """How many arrivals these entities have."""
        return sum(len(self._of(entity)) for entity in entities)

    def of_entities(self, entities: Iterable[str]) -> dict[int, set[int]]:
        """The places with arrivals of these entities; for each of them those arrivals' event ids, as keys."""
        found: dict[int, set[int]] = {}
        for entity in entities:
            for at in self._of(entity):
                place = self._entities.keys[at] & (_PLACES - 1)
                found.setdefault(place, set()).add(self._events_of.at(at))
        return found

    def of_events(self, events: Sequence[int]) -> set[int]:
        """The places with arrivals of these event ids."""
        keys, fences = self._events.keys, self._event_fences
        found: set[int] = set()
        for event in events:
            low = event << _PLACE_BITS
            for at in self._events.between(fences, low, low + _PLACES):
                found.add(keys[at] & (_PLACES - 1))
        return found

    def arrivals(self) -> tuple[pa.UInt64Array, pa.UInt64Array]:
        """(44 bits of the entity and a place, 44 bits of the event id) of all of them."""
        return self._entities.array(), self._events_of.array()

    def _of(self, entity: str) -> range:
        low = int(sha256(entity.encode()).hexdigest()[:_DIGITS], 16) << _PLACE_BITS
        return self._entities.between(self._entity_fences, low, low + _PLACES)


class _Column:
    def __init__(self, path: Path, keys: memoryview[int], sums: memoryview[int]) -> None:
        self.keys = keys
        self._path = path
        self._sums = sums
        self._held = bytearray(len(sums))

    def between(self, fences: memoryview[int], low: int, high: int) -> range:
        """Where the keys from `low` to before `high` are. `fences`: the first key of each block."""
        first = max(bisect_left(fences, low) - 1, 0)
        after = bisect_left(fences, high, first)
        for block in range(first, after):
            self._check(block)
        within = (first * _BLOCK, min(after * _BLOCK, len(self.keys)))
        start = bisect_left(self.keys, low, *within)
        return range(start, bisect_left(self.keys, high, start, within[1]))

    def at(self, place: int) -> int:
        self._check(place // _BLOCK)
        return self.keys[place]

    def array(self) -> pa.UInt64Array:
        for block in range(len(self._sums)):
            self._check(block)
        return pa.Array.from_buffers(pa.uint64(), len(self.keys), [None, pa.py_buffer(self.keys)])

    def _check(self, block: int) -> None:
        if not self._held[block]:
            if crc32(self.keys[block * _BLOCK : (block + 1) * _BLOCK]) != self._sums[block]:
                raise Damaged(self._path)
            self._held[block] = 1


def found_in(directory: Path) -> Iterator[Whereabouts]:
    """Those that a folder has. Raises `Damaged`."""
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            yield Whereabouts(path)
        except FileNotFoundError:
            continue  # another process has put a larger one in its place


def learn(
    directory: Path,
    files: Mapping[tuple[str, str], Path],
    known: Sequence[Whereabouts],
    memory: str | None = None,
    most_rows: int = MOST_ROWS,
) -> None:
    """Makes a file of these segments (name and SHA-256 → local copy), and takes smaller ones that are `known`
    into it while it stays below so many rows: so they are few. `memory`: as in
    `relation.connect`. Raises OSError where there is no room."""
    if len(files) > _PLACES:
        raise ValueError(f"{len(files)} segments are more than one file tells apart")
    with closing(connect(memory)) as con:
        paths = [str(path.absolute()) for path in files.values()]
        lock_to(con, paths)
        read = con.sql(_KEYS.format(digits=_DIGITS, files=scan(paths))).to_arrow_table()
    entities = _joined(_column(read, "entity"), _column(read, "place"))
    pieces = [(entities, _column(read, "event"))]
    segments, rows, taken = list(files), len(entities), []
    for smaller in sorted(known, key=lambda each: each.rows):
        if smaller.rows > 2 * rows or smaller.rows + rows > most_rows:
            break
        if len(segments) + len(smaller.segments) > _PLACES:
            break
        keys, events = smaller.arrivals()
        pieces.append((pc.add(keys, pa.scalar(len(segments), pa.uint64())), events))
        segments += smaller.segments
        rows += smaller.rows
        taken.append(smaller.path)
    of_entities, of_events = map(pa.concat_arrays, zip(*pieces, strict=True))
    written = _write(directory, segments, of_entities, of_events)
    for path in taken:
        if path != written:
            path.unlink(missing_ok=True)


def _write(
    directory: Path, segments: list[tuple[str, str]], entities: pa.UInt64Array, events: pa.UInt64Array
) -> Path:
    place = pc.bit_wise_and(entities, pa.scalar(_PLACES - 1, pa.uint64()))
    by_event = _joined(events, place)
    by_event = by_event.take(pc.array_sort_indices(by_event))
    order = pc.array_sort_indices(entities)
    columns = [_words(each) for each in (by_event, entities.take(order), events.take(order))]
    told = msgspec.msgpack.encode(_Head(segments, len(entities)))
    head = bytearray(struct.pack("=Q", len(told)) + told)
    head += bytes(_padded(len(head)) - len(head))
    for keys in columns[:2]:
        head += keys[::_BLOCK].tobytes()
    for keys in columns:
        sums = [crc32(keys[at : at + _BLOCK]) for at in range(0, len(keys), _BLOCK)]
        head += struct.pack(f"={len(sums)}I", *sums)
    path = directory / f"{sha256(msgspec.msgpack.encode(sorted(segments))).hexdigest()[:32]}{_SUFFIX}"
    directory.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=directory, suffix=".part", delete=False) as file:
        try:
            file.write(_PREFIX.pack(_MAGIC, len(head), crc32(head)))
            file.write(head)
            file.write(bytes(_padded(_PREFIX.size + len(head)) - _PREFIX.size - len(head)))
            for keys in columns:
                file.write(keys)
            file.flush()
        except OSError:
            Path(file.name).unlink()
            raise
    return Path(file.name).replace(path)


def _joined(bits: pa.UInt64Array, places: pa.UInt64Array) -> pa.UInt64Array:
    return pc.bit_wise_or(pc.shift_left(bits, pa.scalar(_PLACE_BITS, pa.uint64())), places)


def _column(table: pa.Table, name: str) -> pa.UInt64Array:
    return table.column(name).combine_chunks()


def _words(array: pa.UInt64Array) -> memoryview[int]:
    _, values = array.buffers()
    return memoryview(values).cast("Q")[array.offset : array.offset + len(array)]


def _padded(length: int) -> int:
    """The next multiple of 8."""
    return -(-length // 8) * 8
