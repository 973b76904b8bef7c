"""Seals: a chain of objects that says which raw objects there are (design: section 4, Seals).

Each seal names segments that count, with their hashes and sizes, and the hash of the seal before it, so that
neither a reindex nor an edited manifest can bless a change of raw. What the chain cannot show by itself is
the loss of its last seals: keep a `SealHead` elsewhere to compare.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256

import msgspec

from pik.domain.errors import AlreadyExists, NotReady, Tampered
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import GenerationRecord, SegmentID, newest_rule
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream

_PATIENCE = Patience()
_HOUR = 3_600_000_000  # microseconds
_LATE_HOURS = 2
MAX_SEGMENTS = 20_000  # in one seal: about 4 MB


class SealedObject(msgspec.Struct, frozen=True, gc=False):
    key: str
    sha256: str
    bytes: int


class Seal(msgspec.Struct, frozen=True):
    """Bucket object `seals/<number>.json`, numbered from 1. `previous`: SHA-256 of the bytes of the seal
    before it, None for the first. `nonce`: whose it is. `cut`: every segment in it was stamped before."""

    stream_id: str
    number: int
    nonce: str
    previous: str | None
    sealed_at: str
    cut: str
    generation: SealedObject  # the newest generation record
    segments: tuple[SealedObject, ...]  # that no earlier seal names, by key


class StoredSeal(msgspec.Struct, frozen=True):
    """A seal as it was found: `seal` is None where the bytes are not one."""

    key: str
    sha256: str
    seal: Seal | None


class SealHead(msgspec.Struct, frozen=True):
    """The end of the chain: whoever keeps it elsewhere can tell whether the chain was cut or rewritten."""

    number: int
    sha256: str


class Chain(msgspec.Struct, frozen=True):
    """The chain as a process knows it. `keys`: of the segments in it that were stamped from `since` on (the
    start of an hour; None: all)."""

    head: SealHead | None
    generation: SealedObject | None  # the record that its last seal names
    keys: frozenset[str]
    since: Instant | None = None


async def read_seals(stream: Stream) -> AsyncIterator[StoredSeal]:
    """All seals in the order of their numbers, paged to the end."""
    async for info in stream.objects.list(stream.layout.seals):
        body = (
            await until_answered(stream.clock, _PATIENCE, lambda key=info.key: stream.objects.read(key))  # type: ignore[misc]
        ).body
        try:
            seal = msgspec.json.decode(body, type=Seal)
        except msgspec.DecodeError:
            seal = None
        yield StoredSeal(info.key, sha256(body).hexdigest(), seal)


def continues(seal: Seal, head: SealHead | None) -> bool:
    """Whether a seal is the next one after the chain's end."""
    if head is None:
        return (seal.number, seal.previous) == (1, None)
    return (seal.number, seal.previous) == (head.number + 1, head.sha256)


async def seal_segments(stream: Stream, settle: float, max_segments: int = MAX_SEGMENTS) -> list[Seal]:
    """Seals the segments that count, were stamped more than `settle` seconds ago, and are in no seal yet;
    one after another where they are more than `max_segments`. Returns the seals that this call made: none
    where there is nothing new. A segment that lands after the cut with a stamp of before goes into a later
    seal. `settle` may be 0 where one process knows all of its writes and has drained them.

    Several writers may call this at once: a number is created once, and who loses it goes on from there.
    Raises `NotReady` for a stream without a generation record and `Tampered` where a seal is not one:
    a broken chain is not continued as if it were whole.
    """
    made, _ = await continue_seals(stream, settle, None, max_segments)
    return made


async def continue_seals(
    stream: Stream, settle: float, chain: Chain | None, max_segments: int = MAX_SEGMENTS
) -> tuple[list[Seal], Chain]:
    """As `seal_segments`, and the chain as it is known then. `chain`: as an earlier call left it. Its seals
    are not read again, nor raw of hours that are long past: give None now and then, so that what landed
    very late is sealed too and a chain that was changed is found out."""
    made: list[Seal] = []
    while True:
        chain = chain or await _chain(stream)
        cut = Instant(stream.clock.now().micros - round(settle * 1_000_000))
        record, newest = await _newest_generation(stream)
        waiting = await _unsealed(stream, record, chain, cut)
        if not waiting and chain.generation == newest:
            return made, _shortened(stream, chain, cut)
        seal = Seal(
            stream_id=stream.layout.stream_id,
            number=chain.head.number + 1 if chain.head else 1,
            nonce=stream.entropy.hex(32),
            previous=chain.head.sha256 if chain.head else None,
            sealed_at=stream.clock.now().text,
            cut=cut.text,
            generation=newest,
            segments=tuple([await _sealed_object(stream, *found) for found in waiting[:max_segments]]),
        )
        body = msgspec.json.encode(seal)
        if not await _create(stream, seal.number, body):
            chain = None  # another was first
            continue
        made.append(seal)
        chain = Chain(
            SealHead(seal.number, sha256(body).hexdigest()),
            newest,
            chain.keys | {segment.key for segment in seal.segments},
            chain.since,
        )
        if len(waiting) <= max_segments:
            return made, _shortened(stream, chain, cut)


async def _chain(stream: Stream) -> Chain:
    """All of it."""
    sealed: set[str] = set()
    head = generation = None
    async for stored in read_seals(stream):
        seal = stored.seal
        if seal is None or not continues(seal, head):
            raise Tampered(f"{stored.key}: does not continue the chain of seals: run `pik verify`")
        sealed.update(segment.key for segment in seal.segments)
        head = SealHead(seal.number, stored.sha256)
        generation = seal.generation
    return Chain(head, generation, frozenset(sealed))


def _shortened(stream: Stream, chain: Chain, cut: Instant) -> Chain:
    """Without the segments of hours in which hardly any lands any more."""
    since = Instant(max(0, cut.micros // _HOUR - _LATE_HOURS) * _HOUR)
    if chain.since is not None and since <= chain.since:
        return chain
    keys = (key for key in chain.keys if _stamp(stream.layout.segment_of(key)) >= since)
    return msgspec.structs.replace(chain, keys=frozenset(keys), since=since)


def _stamp(segment: SegmentID) -> Instant:
    return Instant(segment.stamp_millis * 1000)


async def _newest_generation(stream: Stream) -> tuple[GenerationRecord, SealedObject]:
    newest = None
    async for info in stream.objects.list(stream.layout.generations):
        newest = info.key
    if newest is None:
        raise NotReady(f"{stream.namespace}/{stream.name} has no index yet: run `pik reindex`")
    body = (await until_answered(stream.clock, _PATIENCE, lambda: stream.objects.read(newest))).body
    record = msgspec.json.decode(body, type=GenerationRecord)
    return record, SealedObject(newest, sha256(body).hexdigest(), len(body))


async def _unsealed(
    stream: Stream, record: GenerationRecord, chain: Chain, cut: Instant
) -> list[tuple[str, str | None, int]]:
    """Key, SHA-256 where the manifest knows it, and size of what is to be sealed, by key.

    The manifest's hash is the writer's own, of before the object was stored, and so the better witness. Its
    rows are taken even where the object is gone: a loss must not pass unseen. Voids and segments that have
    no manifest row yet come from the listing.
    """
    rule = newest_rule(record)
    now = stream.clock.now()
    since = chain.since
    start = "" if since is None else stream.layout.hour(since.to_datetime())

    def wanted(key: str, segment: SegmentID) -> bool:
        stamp = _stamp(segment)
        return (
            key not in chain.keys
            and (since is None or stamp >= since)
            and rule.counts(segment)
            and stamp < cut
            and not is_expired(stamp, stream.retention_days, now)
        )

    found: dict[str, tuple[str, str | None, int]] = {}
    async for info in stream.objects.list(stream.layout.raw, start_after=start):
        try:
            segment = stream.layout.segment_of(info.key)
        except ValueError:
            continue  # a foreign object: a verification reports it
        if wanted(info.key, segment):
            found[info.key] = (info.key, None, info.size)
    async for entry in stream.index.segments(since):
        if wanted(entry.key, entry.segment):
            found[entry.key] = (entry.key, entry.sha256, entry.bytes)
    return [found[key] for key in sorted(found)]


async def _sealed_object(stream: Stream, key: str, digest: str | None, size: int) -> SealedObject:
    if digest is not None:
        return SealedObject(key, digest, size)
    body = (await until_answered(stream.clock, _PATIENCE, lambda: stream.objects.read(key))).body
    return SealedObject(key, sha256(body).hexdigest(), len(body))


async def _create(stream: Stream, number: int, body: bytes) -> bool:
    """Whether the seal of this number is ours: another writer may have made it."""
    key = stream.layout.seal(number)

    async def put() -> bool:
        try:
            await stream.objects.create(key, body)
        except AlreadyExists:
            return (await stream.objects.read(key)).body == body
        return True

    return await until_answered(stream.clock, _PATIENCE, put)
