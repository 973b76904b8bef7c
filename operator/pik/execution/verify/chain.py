"""The chain of seals, held against itself and against what remembers its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from pik.domain.errors import NoSuchTable
from pik.domain.instants import Instant, parse_instant
from pik.execution.ownership import OwnerRecord
from pik.execution.seals import (
    Seal,
    SealedObject,
    SealHead,
    StoredSeal,
    continues,
    parse_head,
    read_seals,
    remembered,
)
from pik.execution.stream import Stream
from pik.execution.verify.findings import Finding, Kind


@dataclass(slots=True)
class Chain:
    """The seals, read to the end also where the chain is broken."""

    head: SealHead | None = None
    seals: int = 0
    sealed: dict[str, SealedObject] = field(default_factory=dict)  # by key
    generations: dict[str, SealedObject] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)  # of the seals, by number
    owner: OwnerRecord | None = None  # that was sealed last
    findings: list[Finding] = field(default_factory=list)


async def read_chain(stream: Stream, kept: SealHead | None) -> Chain:
    """Raises `Unavailable`."""
    try:
        mark = await remembered(stream)  # before the seals: it is told of each after it was made
        index = True
    except NoSuchTable:
        mark, index = None, False
    chain = Chain()
    async for stored in read_seals(stream):
        chain.seals += 1
        _link(stream, chain, stored)
    if index:
        _compare_mark(stream, chain, mark)
    if kept is not None:
        _compare_head(stream, chain, kept, "that was kept elsewhere")
    return chain


def _link(stream: Stream, chain: Chain, stored: StoredSeal) -> None:
    seal = stored.seal
    expected = chain.head.number + 1 if chain.head else 1
    if seal is None or stream.layout.seal(seal.number) != stored.key:
        chain.findings.append(
            Finding(Kind.SEAL_BROKEN, stored.key, "not a seal, or not the one that its key names")
        )
        return
    for number in range(expected, seal.number):
        chain.findings.append(
            Finding(Kind.SEAL_MISSING, stream.layout.seal(number), "a seal of the chain is gone")
        )
    if seal.stream_id != stream.layout.stream_id:
        chain.findings.append(
            Finding(
                Kind.SEAL_BROKEN,
                stored.key,
                "a seal of another stream",
                expected=stream.layout.stream_id,
                found=seal.stream_id,
            )
        )
    if seal.number == expected and not continues(seal, chain.head):
        chain.findings.append(
            Finding(
                Kind.SEAL_BROKEN,
                stored.key,
                f"it names another seal before it than seal {expected - 1} is now: one of them was changed",
                expected=seal.previous,
                found=chain.head.sha256 if chain.head else None,
            )
        )
    chain.findings += [
        Finding(Kind.SEAL_BROKEN, stored.key, f"it says what no sealer writes: {said}")
        for said in _impossible(stream, chain, seal)
    ]
    if seal.owner is not None:
        if chain.owner is not None and not follows(chain.owner, seal.owner):
            chain.findings.append(
                owner_altered(
                    stream,
                    f"it changed without a takeover before seal {seal.number}",
                    chain.owner,
                    seal.owner,
                )
            )
        chain.owner = seal.owner
    chain.head = SealHead(seal.number, stored.sha256)
    chain.digests[seal.number] = stored.sha256
    for record in (seal.generation, *seal.generations):
        chain.generations.setdefault(record.key, record)
    for sealed in seal.segments:
        chain.sealed.setdefault(sealed.key, sealed)  # what was said first stands


def _impossible(stream: Stream, chain: Chain, seal: Seal) -> Iterator[str]:
    try:
        cut, sealed_at = parse_instant(seal.cut), parse_instant(seal.sealed_at)
        stamps = [_stamp(stream, sealed.key) for sealed in seal.segments]
    except ValueError as error:
        yield str(error)
        return
    keys = [sealed.key for sealed in seal.segments]
    if cut > sealed_at:
        yield f"it was cut at {seal.cut}, after it was sealed at {seal.sealed_at}"
    if any(stamp >= cut for stamp in stamps):
        yield f"a segment that was stamped after {seal.cut}"
    if keys != sorted(set(keys)):
        yield "its segments are not in order, or one is there twice"
    if again := [key for key in keys if key in chain.sealed]:
        yield f"{again[0]} was sealed before"
    records = (seal.generation, *seal.generations)
    if not keys and all(record.key in chain.generations for record in records):
        yield "it seals nothing"


def _stamp(stream: Stream, key: str) -> Instant:
    return Instant(stream.layout.segment_of(key).stamp_millis * 1000)


def _compare_mark(stream: Stream, chain: Chain, mark: str | None) -> None:
    known = None
    if mark is not None:
        try:
            known = parse_head(mark)
        except ValueError as error:
            last = chain.head.number if chain.head else 1
            message = f"what the index remembers of the seals is {error}"
            chain.findings.append(Finding(Kind.SEAL_BROKEN, stream.layout.seal(last), message))
            return
        _compare_head(stream, chain, known, "that the index remembers")
    if chain.head is not None and chain.head.number > (known.number if known else 0):
        chain.findings.append(
            Finding(
                Kind.SEAL_NEW, stream.layout.seal(chain.head.number), "the index does not know of this seal"
            )
        )


def _compare_head(stream: Stream, chain: Chain, known: SealHead, what: str) -> None:
    key, found = stream.layout.seal(known.number), chain.digests.get(known.number)
    if found is None:
        if not any((finding.kind, finding.object) == (Kind.SEAL_MISSING, key) for finding in chain.findings):
            chain.findings.append(
                Finding(Kind.SEAL_MISSING, key, f"the seal {what} is gone", expected=known.sha256)
            )
    elif found != known.sha256:
        message = f"it is not the seal {what}"
        chain.findings.append(Finding(Kind.SEAL_BROKEN, key, message, expected=known.sha256, found=found))


def follows(before: OwnerRecord, after: OwnerRecord) -> bool:
    """Whether takeovers can have made one of the other: each raises the epoch and names another owner."""
    raised = after.epoch - before.epoch
    if before.stream_id != after.stream_id:
        return False
    return before == after if raised == 0 else raised > (before.claimant == after.claimant)


def owner_altered(stream: Stream, message: str, expected: object, found: object) -> Finding:
    said = [
        msgspec.json.encode(side).decode() if isinstance(side, OwnerRecord) else str(side)
        for side in (expected, found)
    ]
    return Finding(Kind.OWNER_ALTERED, stream.layout.owner, message, expected=said[0], found=said[1])
