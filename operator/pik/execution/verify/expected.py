"""What ought to be in the bucket: the chain of seals, the generation records, the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from pik.domain.errors import NoSuchTable
from pik.domain.segments import CountingRule, GenerationRecord, SegmentEntry, newest_rule
from pik.execution.retrying import Patience, until_answered
from pik.execution.seals import SealedObject, SealHead, StoredSeal, continues, read_seals
from pik.execution.stream import Stream
from pik.execution.verify.findings import Finding, Kind

_PATIENCE = Patience()


@dataclass(slots=True)
class Chain:
    """The seals, read to the end also where the chain is broken."""

    head: SealHead | None = None
    seals: int = 0
    sealed: dict[str, SealedObject] = field(default_factory=dict)  # by key
    generations: dict[str, SealedObject] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Manifest:
    """`generation` of the index; `gap`: why it cannot be relied on, if it cannot."""

    generation: int = 0
    entries: dict[str, SegmentEntry] = field(default_factory=dict)  # by the key of the segment
    gap: str | None = None


async def read_chain(stream: Stream) -> Chain:
    """Raises `Unavailable`."""
    chain = Chain()
    async for stored in read_seals(stream):
        chain.seals += 1
        _link(stream, chain, stored)
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
    chain.head = SealHead(seal.number, stored.sha256)
    chain.generations.setdefault(seal.generation.key, seal.generation)
    for sealed in seal.segments:
        chain.sealed.setdefault(sealed.key, sealed)  # what was said first stands


async def read_rule(stream: Stream, chain: Chain) -> tuple[CountingRule | None, int, list[Finding]]:
    """What counts by the newest generation record, how many records there are, and what is wrong with
    them."""
    findings: list[Finding] = []
    records: dict[str, bytes] = {}
    async for info in stream.objects.list(stream.layout.generations):
        stored = await until_answered(
            stream.clock,
            _PATIENCE,
            lambda key=info.key: stream.objects.read(key),  # type: ignore[misc]
        )
        records[info.key] = stored.body
    for key, sealed in sorted(chain.generations.items()):
        found = sha256(records[key]).hexdigest() if key in records else None
        if found is None:
            findings.append(Finding(Kind.OBJECT_MISSING, key, "a sealed generation record is gone"))
        elif found != sealed.sha256:
            findings.append(
                Finding(
                    Kind.GENERATION_ALTERED,
                    key,
                    "the generation record is not the one that was sealed",
                    expected=sealed.sha256,
                    found=found,
                )
            )
    rule = None
    for key in sorted(records):
        try:
            record = msgspec.json.decode(records[key], type=GenerationRecord)
        except msgspec.DecodeError:
            findings.append(Finding(Kind.GENERATION_ALTERED, key, "not a generation record"))
        else:
            rule = newest_rule(record)
    return rule, len(records), findings


async def read_manifest(stream: Stream) -> Manifest:
    """The manifest rows, and whether the index was whole while they were read."""
    manifest = Manifest()
    try:
        before = await until_answered(stream.clock, _PATIENCE, stream.index.generation)
        if before is None or not before.ready:
            manifest.gap = "the index is not ready: its manifest was not checked (`pik reindex` builds it)"
            return manifest
        manifest.generation = before.number
        async for entry in stream.index.segments():
            manifest.entries[stream.layout.segment(entry.segment)] = entry
        if await until_answered(stream.clock, _PATIENCE, stream.index.generation) != before:
            manifest.gap = "the index was rebuilt while its manifest was read: verify again"
    except NoSuchTable:
        manifest.entries.clear()
        manifest.gap = "the index table is gone: its manifest was not checked (`pik reindex` builds it)"
    return manifest
