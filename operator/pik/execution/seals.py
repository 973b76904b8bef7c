"""Seals: a chain of objects that says which raw objects there are (design: section 4, Seals).

Each seal names segments that count, with their hashes and sizes, and the hash of the seal before it, so that
neither a reindex nor an edited manifest can bless a change of raw. What the chain cannot show by itself is
the loss or a change of its last seals: the index remembers the last one (by a mark, which a reindex makes
again), and a `SealHead` that is kept elsewhere shows it also where both were changed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from hashlib import sha256

import msgspec

from pik.domain.errors import AlreadyExists, NotReady, Tampered, Unusable
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import GenerationRecord, SegmentID, newest_rule
from pik.execution.documents import document
from pik.execution.ownership import OwnerRecord, read_owner
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream
from pik.ports.objects import StoredObject

_PATIENCE = Patience()
_HOUR = 3_600_000_000  # microseconds
_LATE_HOURS = 2
_HEAD = re.compile(r"([1-9][0-9]{0,8}):([0-9a-f]{64})")
_MARK = "seals"  # in the index, where runs have theirs
MAX_SEGMENTS = 20_000  # in one seal: about 4 MB


class SealedObject(msgspec.Struct, frozen=True, gc=False):
    key: str
    sha256: str
    bytes: int


class Seal(msgspec.Struct, frozen=True):
    """Bucket object `seals/<number>.json`, numbered from 1. `previous`: SHA-256 of the bytes of the seal
    before it, None for the first. `nonce`: whose it is. `cut`: every segment in it was stamped before.
    `generations`: the older generation records that no earlier seal names."""

    stream_id: str
    number: int
    nonce: str
    previous: str | None
    sealed_at: str
    cut: str
    generation: SealedObject  # the newest generation record
    segments: tuple[SealedObject, ...]  # that no earlier seal names, by key
    generations: tuple[SealedObject, ...] = ()
    owner: OwnerRecord | None = None  # whose the stream was then


class StoredSeal(msgspec.Struct, frozen=True):
    """A seal as it was found: `seal` is None where the bytes are not one."""

    key: str
    sha256: str
    seal: Seal | None


class SealHead(msgspec.Struct, frozen=True):
    """The end of the chain: whoever keeps it elsewhere can tell whether the chain was cut or rewritten."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"


def parse_head(text: str) -> SealHead:
    """The reverse of `str(SealHead)`. Raises ValueError."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ValueError(f"not NUMBER:SHA256: {text!r}")
    return SealHead(int(match[1]), match[2])


class Chain(msgspec.Struct, frozen=True):
    """The chain as a process knows it. `keys`: of the segments in it that were stamped from `since` on (the
    start of an hour; None: all)."""

    head: SealHead | None
    generations: frozenset[str]  # keys of the records in it
    keys: frozenset[str]
    since: Instant | None = None


async def read_seals(stream: Stream) -> AsyncIterator[StoredSeal]:
    """All seals in the order of their numbers, paged to the end."""
    async for info in stream.objects.list(stream.layout.seals):
        body = (
            await until_answered(stream.clock, _PATIENCE, lambda key=info.key: stream.objects.read(key))  # type: ignore[misc]
        ).body
        yield StoredSeal(info.key, sha256(body).hexdigest(), _seal_in(info.key, body))


def _seal_in(key: str, body: bytes) -> Seal | None:
    """None where it is not one: `pik verify` names it."""
    try:
        return document(key, body, Seal)
    except Tampered:
        return None


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
        if chain is None:
            chain = await _chain(stream)
            await remember(stream, chain.head)  # whoever made the last one may have died before it did
        cut = Instant(stream.clock.now().micros - round(settle * 1_000_000))
        records = await _generations(stream)
        newest = records[-1]
        stored = (await _read(stream, newest)).body
        record = document(newest, stored, GenerationRecord)
        waiting = await _unsealed(stream, record, chain, cut)
        if not waiting and chain.generations >= set(records):
            return made, _shortened(stream, chain, cut)
        seal = Seal(
            stream_id=stream.layout.stream_id,
            number=chain.head.number + 1 if chain.head else 1,
            nonce=stream.entropy.hex(32),
            previous=chain.head.sha256 if chain.head else None,
            sealed_at=stream.clock.now().text,
            cut=cut.text,
            generation=SealedObject(newest, sha256(stored).hexdigest(), len(stored)),
            segments=tuple([await _sealed_object(stream, *found) for found in waiting[:max_segments]]),
            generations=tuple(
                [await _sealed_object(stream, key) for key in records[:-1] if key not in chain.generations]
            ),
            owner=await _owner(stream),
        )
        body = msgspec.json.encode(seal)
        if not await _create(stream, seal.number, body):
            chain = None  # another was first
            continue
        made.append(seal)
        head = SealHead(seal.number, sha256(body).hexdigest())
        await remember(stream, head)
        chain = Chain(
            head,
            chain.generations | set(records),
            chain.keys | {segment.key for segment in seal.segments},
            chain.since,
        )
        if len(waiting) <= max_segments:
            return made, _shortened(stream, chain, cut)


async def _chain(stream: Stream) -> Chain:
    """All of it."""
    sealed: set[str] = set()
    generations: set[str] = set()
    head = None
    async for stored in read_seals(stream):
        seal = stored.seal
        if seal is None or not continues(seal, head):
            raise Tampered(f"{stored.key}: does not continue the chain of seals: run `pik verify`")
        sealed.update(segment.key for segment in seal.segments)
        head = SealHead(seal.number, stored.sha256)
        generations.update(record.key for record in (seal.generation, *seal.generations))
    return Chain(head, frozenset(generations), frozenset(sealed))


async def newest_seal(stream: Stream) -> SealHead | None:
    """The end of the chain as it lies there; only its last seal is read."""
    newest = None
    async for info in stream.objects.list(stream.layout.seals):
        newest = info.key
    if newest is None:
        return None
    stored = await _read(stream, newest)
    seal = _seal_in(newest, stored.body)
    return None if seal is None else SealHead(seal.number, sha256(stored.body).hexdigest())


async def remember(stream: Stream, head: SealHead | None) -> None:
    """The index remembers the last seal."""
    if head is not None:
        number, text = head.number, str(head)
        await until_answered(stream.clock, _PATIENCE, lambda: stream.index.put_mark(_MARK, 0, number, text))


async def remembered(stream: Stream) -> str | None:
    """What `remember` was told last, as text."""
    marks = await until_answered(stream.clock, _PATIENCE, lambda: stream.index.marks(_MARK))
    return marks.get(0)


def _shortened(stream: Stream, chain: Chain, cut: Instant) -> Chain:
    """Without the segments of hours in which hardly any lands any more."""
    since = Instant(max(0, cut.micros // _HOUR - _LATE_HOURS) * _HOUR)
    if chain.since is not None and since <= chain.since:
        return chain
    keys = (key for key in chain.keys if _stamp(stream.layout.segment_of(key)) >= since)
    return msgspec.structs.replace(chain, keys=frozenset(keys), since=since)


def _stamp(segment: SegmentID) -> Instant:
    return Instant(segment.stamp_millis * 1000)


async def _generations(stream: Stream) -> list[str]:
    """The keys of the generation records, the newest last. Raises `NotReady` where there is none."""
    keys = [info.key async for info in stream.objects.list(stream.layout.generations)]
    if not keys:
        raise NotReady(f"{stream.namespace}/{stream.name} has no index yet: run `pik reindex`")
    return keys


async def _owner(stream: Stream) -> OwnerRecord | None:
    try:
        return await until_answered(
            stream.clock, _PATIENCE, lambda: read_owner(stream.objects, stream.layout.prefix)
        )
    except Unusable:
        return None  # `pik verify` names it


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


async def _sealed_object(stream: Stream, key: str, digest: str | None = None, size: int = 0) -> SealedObject:
    if digest is not None:
        return SealedObject(key, digest, size)
    body = (await _read(stream, key)).body
    return SealedObject(key, sha256(body).hexdigest(), len(body))


async def _read(stream: Stream, key: str) -> StoredObject:
    return await until_answered(stream.clock, _PATIENCE, lambda: stream.objects.read(key))


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
