"""What ought to be in the bucket by the generation records, the owner record and the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from pik.domain.errors import NoSuchObject, NoSuchTable, Tampered, Unusable
from pik.domain.segments import CountingRule, GenerationRecord, SegmentEntry, newest_rule
from pik.execution.documents import document
from pik.execution.generations import newest_record
from pik.execution.ownership import owner_in
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream
from pik.execution.verify.chain import Chain, follows, owner_altered
from pik.execution.verify.findings import Finding, Kind
from pik.ports.index import GenerationState

_PATIENCE = Patience()


@dataclass(slots=True)
class Records:
    """The generation records: what counts by the newest, how many there are, what is wrong with them."""

    newest: GenerationRecord | None
    count: int
    findings: list[Finding]

    @property
    def rule(self) -> CountingRule | None:
        return None if self.newest is None else newest_rule(self.newest)


@dataclass(slots=True)
class Manifest:
    """`state` of the index; `gap`: why its manifest cannot be relied on, if it cannot."""

    state: GenerationState | None = None
    entries: dict[str, SegmentEntry] = field(default_factory=dict)  # by the key of the segment
    gap: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def generation(self) -> int:
        return 0 if self.state is None else self.state.number


# generation records


async def read_rule(stream: Stream, chain: Chain) -> Records:
    """Raises `Unavailable`."""
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
    newest = None
    numbers = [0]
    for key in sorted(records):
        try:
            record = document(key, records[key], GenerationRecord)
        except Tampered:
            findings.append(Finding(Kind.GENERATION_ALTERED, key, "not a generation record"))
            continue
        if stream.layout.generation(record.number) != key:
            message = f"it says that it is the record of generation {record.number}"
            findings.append(Finding(Kind.GENERATION_ALTERED, key, message))
        newest = record
        numbers.append(record.number)
    missing = [stream.layout.generation(number) for number in range(1, max(numbers))]
    findings += [
        Finding(Kind.OBJECT_MISSING, key, "a generation record is gone: a newer one is there")
        for key in missing
        if key not in records and key not in chain.generations
    ]
    return Records(newest, len(records), findings)


async def check_generation(stream: Stream, records: Records, manifest: Manifest) -> list[Finding]:
    """The index's generation against the newest record. Raises `Unavailable`."""
    state, newest = manifest.state, records.newest
    if manifest.gap is not None or state is None or newest is None:
        return []
    if (state.number, state.nonce) == (newest.number, newest.nonce):
        return []
    try:
        now = await until_answered(stream.clock, _PATIENCE, lambda: newest_record(stream))
    except Tampered:
        now = newest
    if now is None or now.number > newest.number:
        manifest.gap = "the index was rebuilt while the records were read: verify again"
        manifest.entries.clear()
        return []
    return [
        Finding(
            Kind.GENERATION_ALTERED,
            stream.layout.generation(newest.number),
            "the index is not of the newest generation record: one of them was changed",
            expected=f"{state.number} {state.nonce}",
            found=f"{newest.number} {newest.nonce}",
        )
    ]


# the owner record


async def check_owner(stream: Stream, chain: Chain, owner: str | None) -> list[Finding]:
    """`owner`: as it is known elsewhere. Raises `Unavailable`."""
    key = stream.layout.owner
    try:
        stored = await until_answered(stream.clock, _PATIENCE, lambda: stream.objects.read(key))
        record = owner_in(stream.layout.prefix, stored.body)
    except NoSuchObject:
        if owner is None and chain.owner is None:
            return []  # nobody knows of one
        return [Finding(Kind.OBJECT_MISSING, key, "the owner record is gone")]
    except Unusable as error:
        return [Finding(Kind.OWNER_ALTERED, key, str(error))]
    if record.stream_id != stream.layout.stream_id:
        message = "it is the record of another stream"
        return [owner_altered(stream, message, stream.layout.stream_id, record.stream_id)]
    if chain.owner is not None and not follows(chain.owner, record):
        return [owner_altered(stream, "it changed since it was sealed, by no takeover", chain.owner, record)]
    if owner not in (None, str(record.claimant)):
        return [
            owner_altered(stream, "it names another owner than the stream's status", owner, record.claimant)
        ]
    return []


# the manifest


async def read_manifest(stream: Stream) -> Manifest:
    """The manifest rows, and whether the index was whole while they were read."""
    manifest = Manifest()
    try:
        before = await until_answered(stream.clock, _PATIENCE, stream.index.generation)
        if before is None or not before.ready:
            manifest.gap = "the index is not ready: its manifest was not checked (`pik reindex` builds it)"
            return manifest
        manifest.state = before
        async for entry in stream.index.segments():
            manifest.entries[stream.layout.segment(entry.segment)] = entry
        if await until_answered(stream.clock, _PATIENCE, stream.index.generation) != before:
            manifest.entries.clear()
            manifest.gap = "the index was rebuilt while its manifest was read: verify again"
    except NoSuchTable:
        manifest.entries.clear()
        manifest.gap = "the index table is gone: its manifest was not checked (`pik reindex` builds it)"
    except Tampered as error:
        manifest.entries.clear()
        manifest.gap = f"the manifest was not read to its end: {error}"
        manifest.findings.append(
            Finding(Kind.MANIFEST_ALTERED, stream.layout.generation(manifest.generation), str(error))
        )
    return manifest
