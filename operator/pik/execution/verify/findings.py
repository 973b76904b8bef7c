"""What a verification says."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pik.execution.seals import SealHead


class Kind(StrEnum):
    """What is wrong. Those from `ORPHAN` on are notes: worth knowing, and no sign of a change."""

    SEAL_MISSING = "SealMissing"  # a number of the chain is not there
    SEAL_BROKEN = "SealBroken"  # a seal does not name the hash of the one before, or is not a seal
    GENERATION_ALTERED = "GenerationAltered"  # a generation record is not the one that was sealed or indexed
    OWNER_ALTERED = "OwnerAltered"  # the owner record is not what was sealed, or not of this stream
    OBJECT_MISSING = "ObjectMissing"  # sealed or in the manifest, within retention, and gone
    OBJECT_ALTERED = "ObjectAltered"  # other bytes than those that were sealed or indexed
    UNREADABLE = "Unreadable"  # rows of a column, or a whole object, that no reader can read
    PAGE_ALTERED = "PageAltered"  # rows of a column whose bytes changed and that can still be read
    ROW_ALTERED = "RowAltered"  # a row that contradicts its own hashes
    HEAD_ALTERED = "HeadAltered"  # an object that says it is another segment than its key does
    MANIFEST_ALTERED = "ManifestAltered"  # a manifest row that its object contradicts
    UNCOUNTED = (
        "Uncounted"  # sealed or indexed, so it counted, and by the newest generation record it does not
    )
    UNINDEXED = "Unindexed"  # a segment that counts, has landed long ago, and has no manifest row
    INDEX_CONTRADICTS = "IndexContradicts"  # an index entry and the event's row do not agree
    REPEATED = "Repeated"  # an event id accepted twice, or a row number twice in a segment
    WINNER_MISSING = "WinnerMissing"  # a repeat that names a segment without that event
    ORPHAN = "Orphan"  # a segment that landed a moment ago and is not indexed yet
    FOREIGN = "Foreign"  # an object among raw that is no segment of this stream
    ABANDONED = "Abandoned"  # index entries that no event bears out: reservations that came to nothing
    SEAL_NEW = "SealNew"  # a seal that the index does not know of: its maker died, or was not pik


NOTES = frozenset({Kind.ORPHAN, Kind.FOREIGN, Kind.ABANDONED, Kind.SEAL_NEW})


class RowSpan(msgspec.Struct, frozen=True, order=True):
    """Rows of a segment, both ends included: values of its column `row`, or where those cannot be read
    (`numbered` false) places in the file, from 0."""

    first: int
    last: int
    numbered: bool = True

    def __str__(self) -> str:
        what = "row" if self.numbered else "place"
        return f"{what} {self.first}" if self.first == self.last else f"{what}s {self.first}–{self.last}"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be. `object`: the key in the bucket. `columns`: of the segment, or
    of the manifest row; where several are named, one of them is wrong."""

    kind: Kind
    object: str
    message: str
    rows: RowSpan | None = None
    columns: tuple[str, ...] = ()
    expected: str | None = None
    found: str | None = None
    event_id: str | None = None


class Checked(msgspec.Struct, frozen=True):
    """How much was checked."""

    seals: int = 0
    generations: int = 0
    segments: int = 0  # that landed, count, and are within retention
    voids: int = 0  # among these, without rows
    sealed: int = 0  # among these, against a seal
    rows: int = 0
    bytes: int = 0
    manifest_rows: int = 0
    index_entries: int = 0
    abandoned: int = 0  # index entries without their event: reservations that came to nothing
    uncounted: int = 0  # segments of an older generation that do not count
    expired: int = 0  # sealed segments past retention


class Verification(msgspec.Struct, frozen=True):
    """The result. `unread`: why it is not complete; empty if everything was read. `head`: the end of the
    chain of seals, to be kept elsewhere and compared."""

    stream_id: str
    findings: tuple[Finding, ...]
    checked: Checked
    unread: tuple[str, ...]
    head: SealHead | None

    @property
    def complete(self) -> bool:
        return not self.unread

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind not in NOTES)

    @property
    def ok(self) -> bool:
        """Everything was read and nothing is wrong."""
        return self.complete and not self.errors
