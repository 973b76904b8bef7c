"""Which segments decide an entity's slice of a stream whose first arrivals are decided on reading: those with
arrivals of the entity, and those with an arrival of the same event id, wherever and of whatever it is.

Found by what is derived from the segments (execution.reading.whereabouts). Where nothing can be kept, or the
entities have so many events that looking each of them up takes longer than reading all, it is all segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pik.domain.segments import SegmentEntry
from pik.execution.reading.whereabouts import MOST_ROWS, MOST_SEGMENTS, Damaged, Whereabouts, found_in, learn
from pik.execution.stream import Stream
from pik.planning.replay.plan import maybe_events

PLACES = "places"
"""The folder of what is derived, beside the segments."""

FEW = 10_000
"""Event ids that are looked up, whatever the stream's size; of a larger one a tenth of its rows."""

_ATTEMPTS = 5


async def deciding(
    stream: Stream,
    entities: Sequence[str],
    segments: Sequence[SegmentEntry],
    memory: str | None = None,
    most_rows: int = MOST_ROWS,
) -> list[SegmentEntry]:
    """Those of the segments that decide what the entities' events are, and a few more by chance.

    `memory`: as in `relation.connect`; `most_rows`: of one file of what is known. Raises what
    fetching those segments does of which nothing is known yet.
    """
    holding = [entry for entry in segments if maybe_events(entry) > 0]
    if stream.files.directory is None:
        return holding
    directory = stream.files.directory / PLACES
    for _ in range(_ATTEMPTS):
        try:
            known = await stream.offload(_known, directory)
            there = {named for each in known for named in each.segments}
            unknown = [entry for entry in holding if _name(entry) not in there]
            if not unknown:
                found = await stream.offload(_deciding, known, entities)
                return holding if found is None else [e for e in holding if _name(e) in found]
            for some in _pieces(unknown, most_rows):
                files = await stream.files.fetch(some)
                named = {_name(entry): file for entry, file in zip(some, files, strict=True)}
                known = await stream.offload(_known, directory)
                await stream.offload(learn, directory, named, known, memory, most_rows)
        except Damaged as damaged:
            damaged.path.unlink(missing_ok=True)
        except OSError:
            return holding  # nothing can be kept there: a full disk is no reason not to plan
    return holding  # others keep damaging or removing what is kept


def _known(directory: Path) -> list[Whereabouts]:
    return list(found_in(directory))


def _deciding(known: Sequence[Whereabouts], entities: Sequence[str]) -> set[tuple[str, str]] | None:
    """Names of segments; None: there are too many event ids to look up."""
    most = max(FEW, sum(each.rows for each in known) // 10)
    found: set[tuple[str, str]] = set()
    events: set[int] = set()
    for each in known:
        if len(events) + each.count(entities) > most:
            return None
        for place, theirs in each.of_entities(entities).items():
            found.add(each.segments[place])
            events |= theirs
    wanted = sorted(events)
    for each in known:
        found |= {each.segments[place] for place in each.of_events(wanted)}
    return found


def _pieces(entries: Sequence[SegmentEntry], most_rows: int) -> Iterator[list[SegmentEntry]]:
    """As many at once as one file takes; at least one."""
    piece: list[SegmentEntry] = []
    rows = 0
    for entry in entries:
        if piece and (rows + entry.rows > most_rows or len(piece) == MOST_SEGMENTS):
            yield piece
            piece, rows = [], 0
        piece.append(entry)
        rows += entry.rows
    if piece:
        yield piece


def _name(entry: SegmentEntry) -> tuple[str, str]:
    return str(entry.segment), entry.sha256
