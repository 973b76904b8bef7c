"""One segment: its bytes against what was sealed or indexed of it, its rows against their own hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import groupby

import msgspec

from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import Tampered
from pik.domain.instants import Instant
from pik.domain.layout import Layout
from pik.domain.segments import SegmentEntry, SegmentHead
from pik.execution.reading.describe import describe_rows, known_from
from pik.execution.seals import SealedObject
from pik.execution.verify.findings import Finding, Kind, RowSpan
from pik.execution.verify.rows import COVERED, UNREAD, Contradiction, contradictions
from pik.execution.verify.salvage import Salvage, Stretch, changed_stretches, salvage
from pik.ports.segments import SegmentCodec

_NAMED = 100  # rows of one segment that are named one by one; runs of neighbours count once


class Witness(msgspec.Struct, frozen=True):
    """What was recorded of a segment elsewhere."""

    sealed: SealedObject | None
    entry: SegmentEntry | None

    @property
    def sha256(self) -> str | None:
        """The hash its bytes must have: the chain's word goes before the manifest's."""
        if self.sealed is not None:
            return self.sealed.sha256
        return None if self.entry is None else self.entry.sha256


class SegmentResult(msgspec.Struct, frozen=True):
    """`rows`: None where not all could be read."""

    findings: tuple[Finding, ...]
    rows: tuple[Row, ...] | None
    bytes: int


class SegmentCheck(msgspec.Struct, frozen=True):
    """The rules of one stream. `settle`: seconds that a segment may land after its stamp and still be known
    from it."""

    layout: Layout
    codec: SegmentCodec
    exclude: tuple[str, ...]
    settle: float

    def check(self, key: str, body: bytes, last_modified: Instant, witness: Witness) -> SegmentResult:
        """Pure work of the CPU. `key` names a segment of this stream."""
        digest = sha256(body).hexdigest()
        if witness.sha256 in (digest, None):
            try:
                head, rows = self.codec.decode(body)
            except (Tampered, ValueError):
                pass  # nobody vouches for these bytes, or they were never a segment: read what can be read
            else:
                findings = [
                    *self._head(key, head),
                    *self._manifest(key, witness.entry, head, rows, digest, len(body), last_modified),
                    *self._rows(key, rows),
                ]
                return SegmentResult(tuple(findings), tuple(rows), len(body))
        return SegmentResult(tuple(self._damaged(key, body, digest, witness)), None, len(body))

    def _head(self, key: str, head: SegmentHead) -> Iterable[Finding]:
        segment = self.layout.segment_of(key)
        said = (head.stream_id, str(head.segment), head.ingest_time.micros // 1000)
        meant = (self.layout.stream_id, str(segment), segment.stamp_millis)
        names = ("pik.stream", "pik.segment", "pik.ingest_time")
        for name, expected, found in zip(names, meant, said, strict=True):
            if expected != found:
                yield Finding(
                    Kind.HEAD_ALTERED,
                    key,
                    f"the object's {name} is another than its key says",
                    columns=(name,),
                    expected=str(expected),
                    found=str(found),
                )

    def _manifest(
        self,
        key: str,
        entry: SegmentEntry | None,
        head: SegmentHead,
        rows: Sequence[Row],
        digest: str,
        size: int,
        last_modified: Instant,
    ) -> Iterable[Finding]:
        if entry is None:
            return
        known = known_from(head.ingest_time, last_modified, self.settle)
        if entry.known_from == last_modified:
            known = last_modified  # its writer was sure of all it wrote, and settled sooner
        described = describe_rows(head, rows, key=key, sha256=digest, size=size, known_from=known)
        for name in SegmentEntry.__struct_fields__:
            expected, found = getattr(described, name), getattr(entry, name)
            if expected != found:
                yield Finding(
                    Kind.MANIFEST_ALTERED,
                    key,
                    f"the manifest row's {name} is not what the object holds",
                    columns=(name,),
                    expected=_text(expected),
                    found=_text(found),
                )

    def _rows(self, key: str, rows: Sequence[Row]) -> Iterable[Finding]:
        found = [
            (place, contradiction, row.arrival.event_id)
            for place, row in enumerate(rows)
            for contradiction in contradictions(row.arrival, self.exclude)
        ]
        numbers = [row.row for row in rows]
        yield from _altered(key, found, lambda first, last: _span(numbers, first, last))
        yield from _repeated(key, numbers)

    def _damaged(self, key: str, body: bytes, digest: str, witness: Witness) -> Iterable[Finding]:
        """`digest` is not the recorded hash, or there is none, or the bytes never were a segment."""
        entry, sealed, expected = witness.entry, witness.sealed, witness.sha256
        findings = list(self._placed(key, body, witness))
        if expected not in (digest, None):
            by = "manifest row" if sealed is None else "seal"
            intact = "" if findings else "; every row in it is as it was written"
            yield Finding(
                Kind.OBJECT_ALTERED,
                key,
                f"the object's bytes are not those of its {by}{intact}",
                expected=expected,
                found=digest,
            )
        if sealed is not None and entry is not None and entry.sha256 != sealed.sha256:
            yield Finding(
                Kind.MANIFEST_ALTERED,
                key,
                "the manifest row's sha256 is not that of the seal",
                columns=("sha256",),
                expected=sealed.sha256,
                found=entry.sha256,
            )
        yield from findings

    def _placed(self, key: str, body: bytes, witness: Witness) -> Iterable[Finding]:
        """Where in the object it is not as it should be: none if only bytes that hold no row differ."""
        entry = witness.entry
        try:
            salvaged = salvage(body)
        except Tampered as error:
            whole = RowSpan(0, entry.rows - 1, numbered=False) if entry and entry.rows else None
            yield Finding(Kind.UNREADABLE, key, str(error), rows=whole)
            return
        if isinstance(salvaged.head, Tampered):
            yield Finding(Kind.HEAD_ALTERED, key, str(salvaged.head))
        else:
            yield from self._head(key, salvaged.head)
        found = list(self.in_salvage(key, salvaged))
        yield from found or self._unplaced(key, body, salvaged, witness.sha256)

    def in_salvage(self, key: str, salvaged: Salvage) -> Iterable[Finding]:
        """What is wrong with single rows, or with stretches of rows."""
        numbers = salvaged.columns["row"]
        doubtful = {
            place
            for stretch in salvaged.stretches
            if stretch.column == "row"
            for place in range(stretch.first, stretch.last + 1)
        }

        def span(first: int, last: int) -> RowSpan:
            if any(place in doubtful or numbers[place] is UNREAD for place in range(first, last + 1)):
                return RowSpan(first, last, numbered=False)
            return _span(numbers, first, last)

        found = [
            (place, contradiction, _known(salvaged.columns["event_id"][place]))
            for place in range(salvaged.rows)
            for contradiction in self._contradictions(salvaged, place)
        ]
        yield from _altered(key, found, span)
        yield from _repeated(key, [n for n in numbers if n is not UNREAD] if not doubtful else [])
        for stretch in salvaged.stretches:
            if not self._all_named(salvaged, stretch, found):
                yield _stretch(key, stretch, span(stretch.first, stretch.last))

    def _all_named(
        self, salvaged: Salvage, stretch: Stretch, found: Sequence[tuple[int, Contradiction, str | None]]
    ) -> bool:
        """Whether the changes in a stretch that can be read are all named already, row by row: the rows'
        hashes cover this column, and could be recomputed."""
        if not stretch.readable or stretch.column not in COVERED:
            return False
        if not all(other.readable for other in salvaged.stretches if other.column != stretch.column):
            return False
        places = range(stretch.first, stretch.last + 1)
        values = salvaged.columns[stretch.column]
        return any(values[place] is UNREAD for place in places) or any(
            place in places and stretch.column in contradiction.columns for place, contradiction, _ in found
        )

    def _contradictions(self, salvaged: Salvage, place: int) -> Iterable[Contradiction]:
        yield from contradictions(salvaged.cells(place), self.exclude)
        ingest, outcome = salvaged.columns["ingest_time"][place], salvaged.columns["outcome"][place]
        if isinstance(salvaged.head, SegmentHead) and ingest not in (
            salvaged.head.ingest_time.micros,
            UNREAD,
        ):
            yield Contradiction(("ingest_time",), salvaged.head.ingest_time.text, str(ingest))
        if outcome is not UNREAD and outcome not in list(Outcome):
            yield Contradiction(("outcome",), "one of " + ", ".join(Outcome), str(outcome))

    def _unplaced(self, key: str, body: bytes, salvaged: Salvage, expected: str | None) -> Iterable[Finding]:
        """Every row could be read and none contradicts itself. What a writer writes for these rows shows
        where the bytes differ, if it is of the version that wrote them."""
        if expected is None or not salvaged.rows:
            return
        try:
            again = self.codec.encode(*self.codec.decode(body))
        except (Tampered, ValueError):
            again = b""
        if sha256(again).hexdigest() == expected:
            return
        numbers = salvaged.columns["row"]
        stretches = changed_stretches(body, again)
        for stretch in stretches:
            yield _stretch(key, stretch, _span(numbers, stretch.first, stretch.last))
        if not stretches:
            yield Finding(
                Kind.PAGE_ALTERED,
                key,
                "each row agrees with its own hashes, but they are not the rows that were written",
                rows=_span(numbers, 0, salvaged.rows - 1),
            )


def _altered(
    key: str, found: Sequence[tuple[int, Contradiction, str | None]], span: Callable[[int, int], RowSpan]
) -> Iterable[Finding]:
    """A finding for each row, or for each run of neighbours with the same columns where they are many."""
    ordered = sorted(found, key=lambda item: (item[1].columns, item[0]))
    if len(ordered) <= _NAMED:
        runs = [[item] for item in ordered]
    else:
        # place minus rank is constant within a run of neighbours
        ranked = enumerate(ordered)
        runs = [
            [item for _, item in run]
            for _, run in groupby(ranked, key=lambda item: (item[1][1].columns, item[1][0] - item[0]))
        ]
    for run in runs:
        (first, contradiction, event_id), last = run[0], run[-1][0]
        columns = " or ".join(contradiction.columns)
        yield Finding(
            Kind.ROW_ALTERED,
            key,
            f"{columns} is not what was written" + (f", in {len(run)} rows" if len(run) > 1 else ""),
            rows=span(first, last),
            columns=contradiction.columns,
            expected=contradiction.expected,
            found=contradiction.found,
            event_id=event_id if len(run) == 1 else None,
        )


def _repeated(key: str, numbers: Sequence[int]) -> Iterable[Finding]:
    for number, times in sorted(Counter(numbers).items()):
        if times > 1:
            yield Finding(
                Kind.REPEATED,
                key,
                f"{times} rows have the number {number}",
                rows=RowSpan(number, number),
                columns=("row",),
            )


def _stretch(key: str, stretch: Stretch, span: RowSpan) -> Finding:
    if stretch.readable:
        message = (
            f"bytes of {stretch.column} changed: its values in these rows may be others than were written"
        )
        return Finding(Kind.PAGE_ALTERED, key, message, rows=span, columns=(stretch.column,))
    message = f"{stretch.column} cannot be read in these rows"
    return Finding(Kind.UNREADABLE, key, message, rows=span, columns=(stretch.column,))


def _span(numbers: Sequence[int], first: int, last: int) -> RowSpan:
    return RowSpan(min(numbers[first : last + 1]), max(numbers[first : last + 1]))


def _known(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
