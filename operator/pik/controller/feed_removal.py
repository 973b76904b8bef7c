"""What feeds a CaptureStream, stopped and taken away: by a spec that has it no more, a stream that is
suspended or deleted, a role that is not allowed any more. What holds events is never taken away but by
deletionPolicy Delete, and what was made for another owner, who may have taken the stream over, is let be."""

from __future__ import annotations

from dataclasses import dataclass

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType, Reason
from pik.api.stream_status import FunctionStatus, SourceState, SourceStatus
from pik.controller.faults import outcome_of
from pik.controller.outcome import EventType, ObjectEvent, Outcome
from pik.controller.stream_functions import declared, is_of_stream, name_of, stopped
from pik.controller.stream_sources import (
    all_sources,
    pause_sources,
    remove_mappings,
    remove_replay_queue,
    remove_sources,
)
from pik.controller.told import Told
from pik.controller.world import World
from pik.domain.errors import PikError
from pik.planning.functions import FunctionKind


@dataclass(frozen=True, slots=True)
class Cleared:
    """What the spec has no more of, and is still there: `functions` and `sources`, since of `error` it could
    not be taken away."""

    events: tuple[ObjectEvent, ...] = ()
    functions: tuple[FunctionStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    error: PikError | None = None


def is_fed(resource: CaptureStream) -> bool:
    """Whether there is, or should be, a function or a source."""
    return bool(
        declared(resource)
        or resource.spec.ingest.sources
        or resource.status.functions
        or resource.status.sources
    )


async def cleared(resource: CaptureStream, world: World, stream_id: str) -> Cleared:
    """What the spec has no more of is taken away; what may hold events stays, and is told. Raises nothing of
    pik's."""
    kept = {kind.value for kind in declared(resource)}
    names = {source.name for source in resource.spec.ingest.sources or ()}
    functions = tuple(each for each in resource.status.functions if each.name not in kept)
    sources = tuple(each for each in resource.status.sources if each.name not in names)
    if not functions and not sources:
        return Cleared()
    left: list[str] = []
    try:
        for function in functions:
            left += await _without(resource, world, stream_id, function.function, with_events=False)
        left += await remove_sources(resource, world, stream_id, sources, with_events=False)
    except PikError as error:
        return Cleared((), functions, sources, error)
    events = [
        ObjectEvent(EventType.NORMAL, "FunctionRemoved", f"{each.function} is gone") for each in functions
    ]
    if left:
        message = f"nothing reads {', '.join(left)} any more; it stays, with what it holds"
        events.append(ObjectEvent(EventType.WARNING, "SourceLeft", message))
    return Cleared(tuple(events))


async def removed(resource: CaptureStream, world: World, stream_id: str, *, with_events: bool) -> list[str]:
    """Takes away what feeds a stream that is to go, by its spec and by its status. `with_events`: also what
    may hold events that the stream has not taken. What is left of it. Raises what AWS says."""
    left: list[str] = []
    for kind in {*declared(resource), *(FunctionKind(each.name) for each in resource.status.functions)}:
        name = name_of(resource, world, stream_id, kind)
        left += await _without(resource, world, stream_id, name, with_events=with_events)
    return left + await remove_sources(
        resource, world, stream_id, all_sources(resource), with_events=with_events
    )


async def _without(
    resource: CaptureStream, world: World, stream_id: str, name: str, *, with_events: bool
) -> list[str]:
    """A function with its mappings, and the queue of a processor. What is left of it."""
    if await is_of_stream(resource, world, stream_id, name):
        await remove_mappings(resource, world, name)
        await world.cloud.of(resource).functions(resource.spec.storage.region).delete_function(name)
    if name != name_of(resource, world, stream_id, FunctionKind.PROCESSOR):
        return []
    return await remove_replay_queue(resource, world, stream_id, with_events=with_events)


async def halted(resource: CaptureStream, world: World, told: Told) -> tuple[Told, Outcome | None]:
    """While the stream is suspended: nothing is read, and nothing is taken by a function."""
    status = resource.status
    if not (status.functions or status.sources):
        return told, None
    try:
        await stop(resource, world, [each.function for each in status.functions])
    except PikError as error:
        return told, outcome_of(error, CaptureStream.KIND)
    paused = [each.model_copy(update={"state": SourceState.PAUSED}) for each in status.sources]
    told = told.having(sources=tuple(paused))
    parts = ((ConditionType.FUNCTIONS_READY, status.functions), (ConditionType.SOURCES_READY, paused))
    for part, there in parts:
        if there:
            told = told.condition(part, False, Reason.SUSPENDED)
    return told, None


async def stop(resource: CaptureStream, world: World, functions: list[str]) -> None:
    """They read nothing and take nothing any more; what comes stays where it is. Raises what AWS says."""
    for name in functions:
        await pause_sources(resource, world, name)
    await stopped(resource, world, functions)
