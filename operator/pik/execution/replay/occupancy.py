"""Which runs send to a target at present, so that no two of a stream send overlapping slices to it at once.

One object for each target, changed by `If-Match` alone: of two runs that ask at the same time one is first. A
run is in it from before its record is made until it has ended, also while it is held; it leaves with the next
one that asks, by its end, or because whoever it was for is gone, or its time is up. Whoever sends asks before
it begins and before it goes on, so that one whose place was taken away waits, and does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pik.domain.errors import AlreadyExists, Changed, NoSuchObject
from pik.domain.instants import parse_instant
from pik.execution.documents import document
from pik.execution.replay.once import PATIENCE
from pik.execution.replay.runs import read_end, read_record
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.planning.replay.occupancy import Occupancy, Occupant, overlapping, renewed


async def occupy(
    stream: Stream, target: str, run: Occupant, is_wanted: Callable[[Occupant, bool], bool]
) -> Occupant | None:
    """Puts the run among those that send to the target (its `TargetAddress.place`), or says which one is in
    its way. Done again it changes nothing.

    `is_wanted`: whether somebody is there for whom such a run would go on, given whether it has begun.
    """
    key = stream.layout.target(target)
    while True:
        there, etag = await _read(stream, key)
        others = [one for one in there.runs if one.run_id != run.run_id]
        others = [one for one in others if not await _is_over(stream, one, is_wanted)]
        in_the_way = overlapping(run, others)
        if in_the_way is not None:
            return in_the_way
        before = next((one for one in there.runs if one.run_id == run.run_id), None)
        wanted = renewed(run, before)
        if wanted == before or await _write(stream, key, Occupancy(target, (*others, wanted)), etag):
            return None


async def leave(stream: Stream, target: str, run_id: str) -> None:
    """The run sends no more to the target, for the present at least. Done again it changes nothing."""
    key = stream.layout.target(target)
    while True:
        there, etag = await _read(stream, key)
        others = tuple(one for one in there.runs if one.run_id != run_id)
        if others == there.runs or await _write(stream, key, Occupancy(target, others), etag):
            return


async def _is_over(stream: Stream, run: Occupant, is_wanted: Callable[[Occupant, bool], bool]) -> bool:
    if await read_end(stream, run.run_id) is not None:
        return True
    if run.until is not None:
        return parse_instant(run.until) <= stream.clock.now()
    begun = await read_record(stream, run.run_id) is not None
    return not is_wanted(run, begun)


async def _read(stream: Stream, key: str) -> tuple[Occupancy, str | None]:
    try:
        stored = await until_answered(stream.clock, PATIENCE, lambda: stream.objects.read(key))
    except NoSuchObject:
        return Occupancy("", ()), None
    return document(key, stored.body, Occupancy), stored.etag


async def _write(stream: Stream, key: str, runs: Occupancy, etag: str | None) -> bool:
    """Whether it is written; else somebody else has been at it, or this call had no answer."""
    body = msgspec.json.encode(runs)

    async def write() -> None:
        if etag is None:
            await stream.objects.create(key, body)
        else:
            await stream.objects.replace(key, body, etag)

    try:
        await until_answered(stream.clock, PATIENCE, write)
    except (AlreadyExists, Changed):
        return False
    return True
