"""The AWS Lambda functions of a CaptureStream, and what brings events to them by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pik.api.capture_stream import CaptureStream, SourceState, SourceStatus
from pik.api.conditions import ConditionType, Reason, is_true
from pik.api.sources import SourceType
from pik.controller.backfills import backfilled
from pik.controller.engines import function_environment
from pik.controller.faults import outcome_of
from pik.controller.outcome import EventType, ObjectEvent, Outcome, Retry, Stalled, Waiting
from pik.controller.stream_functions import (
    Deployed,
    declared,
    deployed,
    remove_functions,
    status_of,
    stop_functions,
)
from pik.controller.stream_sources import (
    Prepared,
    mapped,
    pause_sources,
    prepared,
    remove_mappings,
    remove_replay_queue,
    remove_sources,
    replay_queue,
)
from pik.controller.told import Told, drift_events, reported, stalled_by, with_drift
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import NotReady, PikError
from pik.planning.drift import Drifted
from pik.planning.functions import FunctionKind

_T = ConditionType
_WAITS_FOR_FUNCTION = "it waits for the function of ingest.lambda"


@dataclass(frozen=True, slots=True)
class Fed:
    """`outcome`: what keeps the stream from being as its spec wants it; None: nothing does. `at_work`:
    whether objects are being read."""

    told: Told
    outcome: Outcome | None
    events: tuple[ObjectEvent, ...] = ()
    at_work: bool = False


@dataclass(slots=True)
class _Found:
    """What a pass finds: the functions, what they read, and what is wrong with functions."""

    sources: list[Prepared]
    queue: Prepared | None
    functions: dict[FunctionKind, Deployed] = field(default_factory=dict)
    wrong: list[Outcome] = field(default_factory=list)

    @property
    def drift(self) -> Drifted:
        parts: list[Deployed | Prepared] = [*self.functions.values(), *self.sources]
        if self.queue is not None:
            parts.append(self.queue)
        return tuple(each for part in parts for each in part.drift)


async def fed(resource: CaptureStream, world: World, told: Told, opened: OpenStream) -> Fed:
    """Functions and sources looked at, and set right. Raises nothing of pik's."""
    before, stream_id = told.status, opened.place.stream_id
    found = _Found(await prepared(resource, world, stream_id), await replay_queue(resource, world, stream_id))
    events: tuple[ObjectEvent, ...] = ()
    try:
        events = await _without_the_undeclared(resource, world, stream_id)
    except PikError as error:
        found.wrong.append(outcome_of(error, CaptureStream.KIND))
    for kind in declared(resource):
        try:
            await _rolled_out(resource, world, opened, kind, found)
        except PikError as error:
            found.wrong.append(outcome_of(error, CaptureStream.KIND))
    told = told.having(drift=with_drift(told.status, found.drift, told.now))
    told = _with_functions(resource, told, found)
    told, wrong = _with_sources(resource, told, found)
    outcomes = [*found.wrong, *wrong]
    if reported(found.drift):
        outcomes.append(stalled_by(reported(found.drift)))
    return Fed(told, _worst(outcomes), (*events, *drift_events(before, told.status)))


async def _rolled_out(
    resource: CaptureStream, world: World, opened: OpenStream, kind: FunctionKind, found: _Found
) -> None:
    """The function, and what it reads mapped to it. Raises what keeps it from being as the spec wants it."""
    queue = found.queue
    if kind is not FunctionKind.INGEST and queue is not None and queue.error is not None:
        raise queue.error
    told = function_environment(
        kind, resource, opened, found.sources, None if queue is None else queue.address
    )
    function = await deployed(resource, world, opened, kind, told)
    found.functions[kind] = function
    if function.function.live is None:
        return
    stream_id = opened.place.stream_id
    if kind is FunctionKind.INGEST:
        found.sources = await mapped(resource, world, stream_id, function.function, found.sources)
    if kind is FunctionKind.PROCESSOR and queue is not None:
        (found.queue,) = await mapped(resource, world, stream_id, function.function, [queue])
        if found.queue.error is not None:
            raise found.queue.error


def with_backfills(
    resource: CaptureStream, world: World, opened: OpenStream, done: Fed, *, look: bool
) -> Fed:
    """The objects that are read once: as far as they are. `look`: whether to look for more of them."""
    found = backfilled(resource, world, opened, look=look)
    if not found:
        return done
    others = [each for each in done.told.status.sources if each.type != SourceType.S3]
    told = done.told.having(sources=tuple(sorted((*others, *(each.status for each in found)), key=_by_name)))
    worst = _worst([outcome_of(each.error, CaptureStream.KIND) for each in found if each.error is not None])
    at_work = [each.status.name for each in found if each.at_work]
    if worst is not None:
        told = told.condition(_T.SOURCES_READY, False, worst.reason, worst.message)
    elif is_true(told.status.conditions, _T.SOURCES_READY) or not others:
        message = f"objects are being read: {', '.join(at_work)}" if at_work else ""
        told = told.condition(_T.SOURCES_READY, True, Reason.PROVISIONED, message)
    return Fed(told, done.outcome or worst, done.events, bool(at_work))


async def halted(resource: CaptureStream, world: World, told: Told) -> Fed:
    """While the stream is suspended: nothing is read, and nothing is taken by a function."""
    if not (resource.status.functions or resource.status.sources):
        return Fed(told, None)
    try:
        for function in resource.status.functions:
            await pause_sources(resource, world, function.function)
        await stop_functions(resource, world)
    except PikError as error:
        return Fed(told, outcome_of(error, CaptureStream.KIND))
    paused = [each.model_copy(update={"state": SourceState.PAUSED}) for each in resource.status.sources]
    told = told.having(sources=tuple(paused))
    for part, there in ((_T.FUNCTIONS_READY, resource.status.functions), (_T.SOURCES_READY, paused)):
        if there:
            told = told.condition(part, False, Reason.SUSPENDED)
    return Fed(told, None)


async def removed(resource: CaptureStream, world: World, *, with_events: bool) -> list[str]:
    """Takes away what feeds a stream that is to go. `with_events`: also what may hold events that the stream
    has not taken. What is left of it. Raises what AWS says."""
    stream_id = resource.status.streamID
    if stream_id is None:
        return []
    for function in resource.status.functions:
        await remove_mappings(resource, world, function.function)
    left = await remove_sources(resource, world, stream_id, with_events=with_events)
    if status_of(resource.status, FunctionKind.PROCESSOR) is not None:
        left += await remove_replay_queue(resource, world, stream_id, with_events=with_events)
    await remove_functions(resource, world, stream_id)
    return left


def is_fed(resource: CaptureStream) -> bool:
    """Whether there is, or should be, a function or a source."""
    return bool(
        declared(resource)
        or resource.spec.ingest.sources
        or resource.status.functions
        or resource.status.sources
    )


async def _without_the_undeclared(
    resource: CaptureStream, world: World, stream_id: str
) -> tuple[ObjectEvent, ...]:
    """What the spec has no more of is taken away; what may hold events stays, and is told."""
    kept = frozenset(kind.value for kind in declared(resource))
    left = []
    for function in resource.status.functions:
        if function.name not in kept:
            await remove_mappings(resource, world, function.function)
            if function.name == FunctionKind.PROCESSOR:
                left += await remove_replay_queue(resource, world, stream_id, with_events=False)
    gone = await remove_functions(resource, world, stream_id, kept)
    names = frozenset(source.name for source in resource.spec.ingest.sources or ())
    left += await remove_sources(resource, world, stream_id, names, with_events=False)
    events = [ObjectEvent(EventType.NORMAL, "FunctionRemoved", f"{name} is gone") for name in gone]
    if left:
        message = f"nothing reads {', '.join(left)} any more; it stays, with what it holds"
        events.append(ObjectEvent(EventType.WARNING, "SourceLeft", message))
    return tuple(events)


def _with_functions(resource: CaptureStream, told: Told, found: _Found) -> Told:
    wanted = declared(resource)
    if not wanted:
        return told.having(functions=()).without(_T.FUNCTIONS_READY)
    known = {each.name: each for each in told.status.functions if each.name in wanted}
    known |= {
        kind.value: each.status.model_copy(update=_queues(resource, kind, found.queue))
        for kind, each in found.functions.items()
    }
    told = told.having(functions=tuple(known[name] for name in sorted(known)))
    first = _worst(found.wrong)
    if first is not None:
        return told.condition(_T.FUNCTIONS_READY, False, first.reason, first.message)
    if any(reported(function.drift) for function in found.functions.values()):
        return told.condition(_T.FUNCTIONS_READY, False, Reason.DRIFT_REPORTED)
    return told.condition(_T.FUNCTIONS_READY, True, Reason.PROVISIONED)


def _queues(resource: CaptureStream, kind: FunctionKind, queue: Prepared | None) -> Mapping[str, str | None]:
    """Of its status. `queue`: of processing."""
    own = None if queue is None else queue.address
    if kind is FunctionKind.PROCESSOR and queue is not None:
        return {"queueURL": own, "deadLetterURL": queue.dead_letters}
    if kind is FunctionKind.REPLAY and resource.spec.replay is not None:
        return {"queueURL": resource.spec.replay.lambda_.queueURL or own}
    return {}


def _with_sources(resource: CaptureStream, told: Told, found: _Found) -> tuple[Told, list[Outcome]]:
    if not resource.spec.ingest.sources:
        return told.having(sources=()).without(_T.SOURCES_READY), []
    sources: Sequence[Prepared] = found.sources
    function = found.functions.get(FunctionKind.INGEST)
    waits = bool(sources) and (function is None or function.function.live is None)
    if waits:
        missing = NotReady(_WAITS_FOR_FUNCTION)
        sources = [replace(each, error=each.error or missing) for each in sources]
    of_s3 = [each for each in told.status.sources if each.type == SourceType.S3]
    told = told.having(sources=tuple(sorted((*(each.status for each in sources), *of_s3), key=_by_name)))
    errors = [each.error for each in sources if each.error is not None]
    wrong = [outcome_of(error, CaptureStream.KIND) for error in errors if not isinstance(error, NotReady)]
    first = _worst(wrong)
    if first is not None:
        return told.condition(_T.SOURCES_READY, False, first.reason, first.message), wrong
    if waits:
        return told.condition(_T.SOURCES_READY, False, Reason.PROVISIONING, _WAITS_FOR_FUNCTION), wrong
    if any(reported(each.drift) for each in sources):
        return told.condition(_T.SOURCES_READY, False, Reason.DRIFT_REPORTED), wrong
    return told.condition(_T.SOURCES_READY, True, Reason.PROVISIONED), wrong


def _worst(outcomes: Sequence[Outcome]) -> Outcome | None:
    """What needs a person first."""
    for kind in (Stalled, Retry, Waiting):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return outcome
    return None


def _by_name(status: SourceStatus) -> str:
    return status.name
