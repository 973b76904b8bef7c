"""What is kept of an aggregate, all of it created conditionally and never changed (law 7).

Under `aggregates/`:
- `<version>/rows.parquet`: the result; `<version>/inputs/<part>.parquet`: the events that went into it;
- `<version>/version.json`: what the version is; created last, so that where it is, all is;
- `<version>/as-of/<instant>.<known by>.json`: an instant at which it was the answer;
- `asked/<hash>.json`: when a manifest's definition was first asked.
What is kept where who computes is not who asks: see `answers`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeVar

import msgspec
import orjson

from pik.api.aggregate_version import KnownBy
from pik.domain.errors import AlreadyExists, Incomparable, NoSuchObject, NotReady
from pik.domain.instants import Instant, parse_instant
from pik.execution.documents import document
from pik.execution.stream import Stream
from pik.planning.definitions import Definition

T = TypeVar("T")


class VersionRecord(msgspec.Struct, frozen=True):
    """`version.json`: what follows from the version's name."""

    version: str
    definition_hash: str
    inputs_hash: str
    definition: Definition
    input_count: int
    input_parts: int
    row_count: int
    sample_event_ids: tuple[str, ...]  # the first of its inputs by event id


class AsOf(msgspec.Struct, frozen=True):
    """As known when: `as_of` on the clock that `known_by` names; `cut` is the ingest time up to which raw
    was read. Instants are RFC 3339 in UTC."""

    as_of: str
    known_by: KnownBy
    cut: str

    @property
    def instant(self) -> Instant:
        return parse_instant(self.as_of)

    @property
    def cut_instant(self) -> Instant:
        return parse_instant(self.cut)


class Answer(msgspec.Struct, frozen=True):
    """A version, and when it was the answer."""

    record: VersionRecord
    as_of: AsOf

    @property
    def version(self) -> str:
        return self.record.version


class Asked(msgspec.Struct, frozen=True):
    """`asked/<hash>.json`: when `definition_hash` was first asked under this name."""

    namespace: str
    name: str
    definition_hash: str
    at: str


def rows_key(stream: Stream, version: str) -> str:
    return f"{stream.layout.aggregates}{version}/rows.parquet"


def inputs_key(stream: Stream, version: str, part: int) -> str:
    return f"{stream.layout.aggregates}{version}/inputs/{part:05d}.parquet"


def record_key(stream: Stream, version: str) -> str:
    return f"{stream.layout.aggregates}{version}/version.json"


def _as_of_prefix(stream: Stream, version: str) -> str:
    return f"{stream.layout.aggregates}{version}/as-of/"


async def resolve(
    stream: Stream, namespace: str, name: str, definition_hash: str, known_by: KnownBy, as_of: Instant | None
) -> AsOf:
    """When the answer is to be known. A missing `as_of`, and the cut where the source's clock counts, are
    those of the first time that this was asked under this name, so that a manifest that is created again
    gives the same version. Raises NotReady for an `as_of` that is still to come."""
    now = stream.clock.now()
    check_past(as_of, now)
    if as_of is not None and known_by is KnownBy.INGEST_TIME:
        return AsOf(as_of.exact_text, known_by, as_of.exact_text)
    asked = Asked(namespace, name, definition_hash, now.exact_text)
    identity = orjson.dumps([namespace, name, definition_hash])
    key = f"{stream.layout.aggregates}asked/{sha256(identity).hexdigest()}.json"
    try:
        asked = document(key, (await stream.objects.read(key)).body, Asked)
    except NoSuchObject:
        asked = await _first(stream, key, asked)
    return AsOf(asked.at if as_of is None else as_of.exact_text, known_by, asked.at)


def check_past(as_of: Instant | None, now: Instant) -> None:
    """Raises NotReady for an instant that is still to come."""
    if as_of is not None and as_of > now:
        raise NotReady(f"what is known at {as_of.exact_text} is not settled yet: it is {now.text}")


async def _first(stream: Stream, key: str, asked: Asked) -> Asked:
    try:
        await stream.objects.create(key, msgspec.json.encode(asked))
    except AlreadyExists:
        return document(key, (await stream.objects.read(key)).body, Asked)
    return asked


async def keep_as_of(stream: Stream, version: str, as_of: AsOf) -> None:
    key = f"{_as_of_prefix(stream, version)}{as_of.as_of}.{as_of.known_by}.json"
    try:
        await stream.objects.create(key, msgspec.json.encode(as_of))
    except AlreadyExists:
        return  # of another time that it was computed, from a later cut perhaps


async def read_record(stream: Stream, version: str) -> VersionRecord:
    """Raises NoSuchObject where the version is not kept, or not wholly yet."""
    key = record_key(stream, version)
    return document(key, (await stream.objects.read(key)).body, VersionRecord)


async def read_answer(stream: Stream, version: str, as_of: str | None = None) -> Answer:
    """A version by its name, as of `as_of` (as `AsOf` writes it), or of the latest instant at which it is
    known to be the answer. Raises NoSuchObject."""
    record = await read_record(stream, version)
    known = []
    async for info in stream.objects.list(_as_of_prefix(stream, version)):
        stored = await stream.objects.read(info.key)
        known.append(document(info.key, stored.body, AsOf))
    if as_of is not None:
        known = [each for each in known if each.as_of == as_of]
    if not known:
        raise NoSuchObject(f"{version}: nothing says that it was the answer{f' at {as_of}' if as_of else ''}")
    return Answer(record, max(known, key=lambda as_of: (as_of.instant, as_of.cut_instant)))


async def versions(stream: Stream) -> list[VersionRecord]:
    """All versions that are kept of this stream, in order of their names."""
    found = []
    async for info in stream.objects.list(stream.layout.aggregates):
        if info.key.endswith("/version.json"):
            stored = await stream.objects.read(info.key)
            found.append(document(info.key, stored.body, VersionRecord))
    return [record for record in found if record.definition.stream_id == stream.layout.stream_id]


def check_comparable(before: Answer, after: Answer) -> None:
    """Raises Incomparable where they answer different questions."""
    one, other = before.record, after.record
    if one.definition_hash != other.definition_hash:
        raise Incomparable(
            f"{one.version[:12]} and {other.version[:12]} answer different questions: they differ in "
            + ", ".join(_differing(one.definition, other.definition))
        )


def _differing(one: Definition, other: Definition) -> list[str]:
    fields = {
        "stream": one.stream_id == other.stream_id,
        "window": one.window == other.window,
        "timezone": one.timezone == other.timezone,
        "bucket": one.bucket == other.bucket,
        "groupBy": one.group_by == other.group_by,
        "measures": one.measures == other.measures,
        "where": one.where == other.where,
        "the version of the SQL's semantics": one.semantics == other.semantics,
    }
    return [name for name, same in fields.items() if not same]
