"""The difference of two versions in numbers, as it is kept."""

from __future__ import annotations

from pik.domain.errors import Incomplete, NoSuchObject
from pik.execution.aggregate.answers import DifferenceRecord
from pik.execution.aggregate.differences import Change, difference
from pik.execution.aggregate.records import Answer
from pik.execution.aggregate.repeats import repeated
from pik.execution.stream import Stream


async def compare(stream: Stream, before: Answer, after: Answer, memory: str | None) -> DifferenceRecord:
    """Raises `Incomparable`, `Incomplete` where something that was kept of them is gone, and what `repeated`
    does."""
    try:
        found = await difference(stream, before, after, memory)
        duplicates = await repeated(stream, before, after, memory)
    except NoSuchObject as error:
        raise Incomplete(f"something that was kept of a version is gone: {error}") from error
    return DifferenceRecord(
        before=before.version,
        after=after.version,
        rows_changed=len(found.rows),
        late=found.counts[Change.LATE],
        duplicates=duplicates,
        conflicts=found.counts[Change.CHANGED],
        missing=found.counts[Change.MISSING],
        new=found.counts[Change.NEW],
    )
