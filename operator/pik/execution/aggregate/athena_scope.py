"""What of a stream's table a snapshot means: which partitions, which rows, and of which segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pik.api.aggregate_version import KnownBy
from pik.domain.instants import Instant
from pik.execution.aggregate.records import AsOf
from pik.execution.aggregate.segments import segments_to_read
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Deduplication, Stream
from pik.planning.definitions import Definition
from pik.planning.trino.scope import Scope, hour_of
from pik.planning.trino.tables import Table

_NAMED = 3  # segments in a message


@dataclass(frozen=True, slots=True)
class Sought:
    """`expected`: how many rows each segment in `scope` has, by its name; `names`: of these segments in the
    order of their arrivals."""

    scope: Scope
    expected: Mapping[str, int]
    names: tuple[str, ...]

    def missing(self, seen: Mapping[str, int]) -> str | None:
        """What is said where not all of them are seen, whole. None: they are."""
        unlike = [name for name in self.names if seen.get(name, 0) != self.expected[name]]
        if not unlike:
            return None
        shown = ", ".join(f"{n}: {seen.get(n, 0)} of {self.expected[n]}" for n in unlike[:_NAMED])
        return f"Athena does not see the rows of {len(unlike)} segments that count ({shown})"

    def strangers(self, seen: Mapping[str, int]) -> tuple[str, ...]:
        """Segments that are there and do not count."""
        return tuple(sorted(seen.keys() - self.expected.keys()))


def sought(stream: Stream, definition: Definition, snapshot: Snapshot, known: AsOf, table: Table) -> Sought:
    """What an aggregate reads of the table."""
    hours = {hour_of(entry.segment) for entry in segments_to_read(stream, definition, snapshot) if entry.rows}
    read = [entry for entry in snapshot.segments if entry.rows and hour_of(entry.segment) in hours]
    read.sort(key=lambda entry: (entry.ingest_time, str(entry.segment)))
    by_source = known.known_by is KnownBy.RECEIVED_TIME
    scope = Scope(
        table=table,
        hours=tuple(sorted(hours)),
        first=read[0].ingest_time if read else Instant(0),
        last=read[-1].ingest_time if read else Instant(0),
        window=definition.span,
        on_read=stream.deduplication is Deduplication.ON_READ,
        received_by=known.instant if by_source else None,
    )
    expected = {str(entry.segment): entry.rows for entry in read}
    return Sought(scope, expected, tuple(expected))
