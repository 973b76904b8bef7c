"""The AWS Lambda functions of a CaptureStream, and what brings events to them by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType, Reason, is_true
from pik.api.sources import SourceType
from pik.api.stream_status import FunctionStatus, SourceStatus
from pik.controller.backfills import backfilled
from pik.controller.engines import function_environment
from pik.controller.faults import outcome_of
from pik.controller.feed_removal import Cleared, cleared, stop
from pik.controller.outcome import ObjectEvent, Outcome, Retry, Stalled, Waiting
from pik.controller.stream_functions import Deployed, declared, deployed, is_of_stream, name_of, status_of
from pik.controller.stream_sources import Prepared, mapped, prepared, replay_queue
from pik.controller.told import Told, drift_events, reported, stalled_by, with_drift
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import NotReady, PikError, RoleNotAllowed
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
    """What a pass finds: what is not wanted any more, the functions, what they read, and what is wrong with
    functions."""

    cleared: Cleared
    sources: list[Prepared]
    queue: Prepared | None
    functions: dict[FunctionKind, Deployed] = field(default_factory=dict)
    wrong: list[PikError] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.cleared.error is not None:
            self.wrong.append(self.cleared.error)

    @property
    def drift(self) -> Drifted:
        parts: list[Deployed | Prepared] = [*self.functions.values(), *self.sources]
        if self.queue is not None:
            parts.append(self.queue)
        return tuple(each for part in parts for each in part.drift)


async def fed(resource: CaptureStream, world: World, told: Told, opened: OpenStream) -> Fed:
    """Functions and sources looked at, and set right. Raises nothing of pik's."""
    before, stream_id = told.status, opened.place.stream_id
    found = _Found(
        await cleared(resource, world, stream_id),
        await prepared(resource, world, stream_id),
        await replay_queue(resource, world, stream_id),
    )
    for kind in declared(resource):
        try:
            await _rolled_out(resource, world, opened, kind, found)
        except PikError as error:
            found.wrong.append(error)
            if isinstance(error, RoleNotAllowed):
                await _disallowed(resource, world, stream_id, kind, found)
    told = told.having(drift=with_drift(told.status, found.drift, told.now))
    told = _with_functions(resource, world, told, stream_id, found)
    told, wrong = _with_sources(resource, told, found)
    outcomes = [*_outcomes(found.wrong), *wrong]
    if reported(found.drift):
        outcomes.append(stalled_by(reported(found.drift)))
    return Fed(told, _worst(outcomes), (*found.cleared.events, *drift_events(before, told.status)))


async def _rolled_out(
    resource: CaptureStream, world: World, opened: OpenStream, kind: FunctionKind, found: _Found
) -> None:
    """The function, and what it reads mapped to it. Raises what keeps it from being as the spec wants it; a
    version that was live goes on, and so does what it reads."""
    queue = found.queue
    if kind is not FunctionKind.INGEST and queue is not None and queue.error is not None:
        raise queue.error
    told = function_environment(
        kind, resource, opened, found.sources, None if queue is None else queue.address
    )
    function = await deployed(resource, world, opened, kind, told)
    found.functions[kind] = function
    stream_id = opened.place.stream_id
    if function.function.live is not None and kind is FunctionKind.INGEST:
        found.sources = await mapped(resource, world, stream_id, function.function, found.sources)
    if function.function.live is not None and kind is FunctionKind.PROCESSOR and queue is not None:
        (queue,) = await mapped(resource, world, stream_id, function.function, [queue])
        found.queue = queue
        if queue.error is not None:
            raise queue.error
    if function.error is not None:
        raise function.error


async def _disallowed(
    resource: CaptureStream, world: World, stream_id: str, kind: FunctionKind, found: _Found
) -> None:
    """A function whose role is not allowed any more works no more, until it is again."""
    name = name_of(resource, world, stream_id, kind)
    try:
        if await is_of_stream(resource, world, stream_id, name):
            await stop(resource, world, [name])
    except PikError as error:
        found.wrong.append(error)


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


def _with_functions(resource: CaptureStream, world: World, told: Told, stream_id: str, found: _Found) -> Told:
    wanted = declared(resource)
    left = {each.name: each for each in found.cleared.functions}
    if not wanted and not left:
        return told.having(functions=()).without(_T.FUNCTIONS_READY)
    before = {each.name: each for each in told.status.functions}
    # also one that was never well is there, and is to be taken away some day
    known = {
        kind.value: before.get(kind)
        or FunctionStatus(name=kind, function=name_of(resource, world, stream_id, kind))
        for kind in wanted
    }
    known |= {
        kind.value: each.status.model_copy(update=_queues(resource, kind, found.queue))
        for kind, each in found.functions.items()
    }
    known |= left
    told = told.having(functions=tuple(known[name] for name in sorted(known)))
    first = _worst(_outcomes(found.wrong))
    if first is not None:
        return told.condition(_T.FUNCTIONS_READY, False, first.reason, first.message)
    if any(reported(function.drift) for function in found.functions.values()):
        return told.condition(_T.FUNCTIONS_READY, False, Reason.DRIFT_REPORTED)
    return told.condition(_T.FUNCTIONS_READY, True, Reason.PROVISIONED)


def _outcomes(errors: Sequence[PikError]) -> list[Outcome]:
    return [outcome_of(error, CaptureStream.KIND) for error in errors]


def _queues(resource: CaptureStream, kind: FunctionKind, queue: Prepared | None) -> Mapping[str, str | None]:
    """Of its status. `queue`: of processing."""
    own = None if queue is None else queue.address
    if kind is FunctionKind.PROCESSOR and queue is not None:
        return {"queueURL": own, "deadLetterURL": queue.dead_letters}
    if kind is FunctionKind.REPLAY and resource.spec.replay is not None:
        return {"queueURL": resource.spec.replay.lambda_.queueURL or own}
    return {}


def _with_sources(resource: CaptureStream, told: Told, found: _Found) -> tuple[Told, list[Outcome]]:
    """`Outcome`s: of sources alone."""
    left = found.cleared.sources
    if not resource.spec.ingest.sources and not left:
        return told.having(sources=()).without(_T.SOURCES_READY), []
    sources: Sequence[Prepared] = found.sources
    before = status_of(told.status, FunctionKind.INGEST)
    waits = bool(sources) and (before is None or before.version is None)
    if waits:
        missing = NotReady(_WAITS_FOR_FUNCTION)
        sources = [replace(each, error=each.error or missing) for each in sources]
    names = {source.name for source in resource.spec.ingest.sources or ()}
    of_s3 = [each for each in told.status.sources if each.type == SourceType.S3 and each.name in names]
    statuses = (*(each.status for each in sources), *of_s3, *left)
    told = told.having(sources=tuple(sorted(statuses, key=_by_name)))
    errors = [each.error for each in sources if each.error is not None]
    wrong = _outcomes([error for error in errors if not isinstance(error, NotReady)])
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
