"""The queues, Kinesis streams and rules that feed a CaptureStream's function, and the mappings that read
them: made where they are pik's, looked at where they are somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, field, replace
from typing import Any

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType
from pik.api.functions import FunctionSettings
from pik.api.sources import Source, SourceType, SQSSource
from pik.api.stream_status import DriftAction, SourceState, SourceStatus
from pik.controller.naming import names_of
from pik.controller.told import is_settled
from pik.controller.world import World
from pik.domain.errors import PikError, SourceNotAllowed, Unavailable, Unusable
from pik.planning.drift import Difference, Drifted, plan
from pik.planning.functions import ObservedFunction, function_tags, is_ours
from pik.planning.sources import (
    DEAD,
    DEAD_RETENTION,
    HIDDEN,
    REPLAY_QUEUE,
    DeleteMapping,
    Mapping,
    ObservedMapping,
    ObservedQueue,
    PauseMapping,
    Queue,
    Rule,
    SourceAction,
    StopRule,
    check_attached,
    mapping_differences,
    place_of,
    queue_differences,
    rule_differences,
    source_name,
    stream_differences,
)
from pik.planning.storage import Names
from pik.ports.sources import SourceProvisioner

_BUS = "eventbridge://"
_DEAD_HIDDEN = 30  # seconds


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source as it is now. `arn`: of what the function reads; None: it is not known yet. `error`: what
    keeps it from being as the spec wants it; what is read already is read on."""

    source: Source
    arn: str | None = None
    address: str | None = None
    dead_letters: str | None = None
    drift: Drifted = ()
    error: PikError | None = None

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(
            name=self.source.name,
            type=self.source.type,
            address=self.address,
            deadLetters=self.dead_letters,
            state=SourceState.READING if self.error is None else SourceState.FAILING,
            message=None if self.error is None else str(self.error)[:1024],
        )


@dataclass(frozen=True, slots=True)
class _Hand:
    """What sets things right for one stream, and remembers what was not."""

    resource: CaptureStream
    provisioner: SourceProvisioner
    tags: dict[str, str]
    names: Names
    stream_id: str
    part: ConditionType  # that tells of it
    timeout: int  # seconds of an invocation
    drift: list[tuple[Difference[Any], DriftAction]] = field(default_factory=list)

    def name(self, source: Source, end: str = "") -> str:
        return source_name(self.names, self.stream_id, source.name, end)

    async def settle(self, differences: Sequence[Difference[SourceAction]]) -> bool:
        """Whether anything was done."""
        status, generation = self.resource.status, self.resource.metadata.generation
        settled = is_settled(status, self.part, generation)
        found = plan(self.resource.spec.driftPolicy, differences, settled=settled)
        for action in found.actions:
            await self.provisioner.apply(action)
        self.drift.extend(found.drift)
        return bool(found.actions)

    async def queue(self, wanted: Queue) -> ObservedQueue:
        there = await self.provisioner.queue(wanted.name)
        if await self.settle(queue_differences(wanted, there)):
            there = await self.provisioner.queue(wanted.name)
        if there is None:
            raise Unusable(f"there is no queue {wanted.name}")
        return there


def _hand(
    resource: CaptureStream,
    world: World,
    stream_id: str,
    function: FunctionSettings | None = None,
    *,
    of_function: bool = False,
) -> _Hand:
    """`function`: that reads what it sets right; `of_function`: and what it has of its own."""
    names = names_of(resource, world)
    return _Hand(
        resource,
        world.cloud.of(resource).sources(resource.spec.storage.region),
        function_tags(names, stream_id, resource.spec.storage.tags),
        names,
        stream_id,
        ConditionType.FUNCTIONS_READY if of_function else ConditionType.SOURCES_READY,
        0 if function is None else function.timeoutSeconds,
    )


async def prepared(resource: CaptureStream, world: World, stream_id: str) -> list[Prepared]:
    """The sources that a function reads, each as it should be or with what is wrong with it. Raises
    nothing of pik's."""
    done = []
    for source in resource.spec.ingest.sources or ():
        if source.type is not SourceType.S3:
            done.append(await _prepared(source, resource, world, stream_id))
    return done


async def replay_queue(resource: CaptureStream, world: World, stream_id: str) -> Prepared | None:
    """That of `processing`, as a source of its function; None where there is no processing. Raises nothing
    of pik's."""
    processing = resource.spec.processing
    if processing is None:
        return None
    hand = _hand(resource, world, stream_id, processing, of_function=True)
    wanted = SQSSource(maxReceiveCount=processing.maxReceiveCount, batchSize=processing.batchSize)
    source = Source.model_construct(name=REPLAY_QUEUE, type=SourceType.SQS, sqs=wanted)
    try:
        queue, dead = await _own_queue(hand, source, processing.maxReceiveCount)
    except PikError as error:
        return Prepared(source, _known_arn(hand, source), drift=tuple(hand.drift), error=error)
    return Prepared(source, queue.arn, queue.url, dead.url, tuple(hand.drift))


async def remove_replay_queue(
    resource: CaptureStream, world: World, stream_id: str, *, with_events: bool
) -> list[str]:
    """What is left of it, as words. Raises what AWS says."""
    hand = _hand(resource, world, stream_id)
    left = []
    for end in ("", DEAD):
        name = source_name(hand.names, stream_id, REPLAY_QUEUE, end)
        left += await _without_queue(hand, name, with_events=with_events)
    return left


async def mapped(
    resource: CaptureStream,
    world: World,
    stream_id: str,
    function: ObservedFunction,
    sources: Sequence[Prepared],
) -> list[Prepared]:
    """With the mappings by which the function's live version reads them, and no other mapping. What may not
    be read any more is paused. Raises what AWS says where the mappings cannot be listed."""
    provisioner = _hand(resource, world, stream_id).provisioner
    there = {each.source: each for each in await provisioner.mappings(function.name)}
    wanted = {each.arn for each in sources if each.arn is not None}
    for mapping in there.values():
        if mapping.source not in wanted:
            await provisioner.apply(DeleteMapping(mapping.id))
    return [await _mapped(resource, world, stream_id, function, each, there) for each in sources]


async def _mapped(
    resource: CaptureStream,
    world: World,
    stream_id: str,
    function: ObservedFunction,
    source: Prepared,
    there: Mapping_[str, ObservedMapping],
) -> Prepared:
    known = None if source.arn is None else there.get(source.arn)
    own = source.source.name == REPLAY_QUEUE
    hand = _hand(resource, world, stream_id, of_function=own)
    try:
        if isinstance(source.error, SourceNotAllowed) and known is not None and known.enabled:
            await hand.provisioner.apply(PauseMapping(known.id))
        if source.arn is not None and source.error is None:
            await hand.settle(mapping_differences(_mapping(source.source, source.arn, function), known))
    except PikError as error:
        source = replace(source, error=source.error or error)
    return replace(source, drift=(*source.drift, *hand.drift))


async def pause_sources(resource: CaptureStream, world: World, function: str) -> None:
    """Nothing is read any more; what comes stays where it is. Raises what AWS says."""
    provisioner = world.cloud.of(resource).sources(resource.spec.storage.region)
    for mapping in await provisioner.mappings(function):
        if mapping.enabled:
            await provisioner.apply(PauseMapping(mapping.id))


async def remove_mappings(resource: CaptureStream, world: World, function: str) -> None:
    """All of a function's. Raises what AWS says."""
    provisioner = world.cloud.of(resource).sources(resource.spec.storage.region)
    for mapping in await provisioner.mappings(function):
        await provisioner.apply(DeleteMapping(mapping.id))


async def remove_sources(
    resource: CaptureStream,
    world: World,
    stream_id: str,
    sources: Iterable[SourceStatus],
    *,
    with_events: bool,
) -> list[str]:
    """Takes away what pik made for these: rules, and with `with_events` also queues and streams, which hold
    events. What was made for another owner is let be. What is left, as words. Raises what AWS says."""
    hand = _hand(resource, world, stream_id)
    left = []
    for known in sources:
        name = source_name(hand.names, stream_id, known.name)
        if known.address is not None and known.address.startswith(_BUS):
            await _without_rule(hand, name, known.address.removeprefix(_BUS))
        match known.type:
            case SourceType.KINESIS:
                left += await _without_stream(hand, name, with_events=with_events)
            case SourceType.SQS | SourceType.EVENT_BRIDGE:
                for queue in (name, source_name(hand.names, stream_id, known.name, DEAD)):
                    left += await _without_queue(hand, queue, with_events=with_events)
            case _:
                pass  # its objects are somebody else's
    return left


def all_sources(resource: CaptureStream) -> list[SourceStatus]:
    """Those of the status, and those that the spec has besides."""
    known = {each.name: each for each in resource.status.sources}
    for source in resource.spec.ingest.sources or ():
        known.setdefault(source.name, Prepared(source, address=_address(source)).status)
    return list(known.values())


async def _without_rule(hand: _Hand, name: str, bus: str) -> None:
    there = await hand.provisioner.rule(name, bus)
    if there is not None and is_ours(hand.tags, there.tags):
        await hand.provisioner.delete_rule(name, bus)


async def _without_queue(hand: _Hand, name: str, *, with_events: bool) -> list[str]:
    there = await hand.provisioner.queue(name)
    if there is None or not is_ours(hand.tags, there.tags):
        return []
    if not with_events:
        return [f"queue {name}"]
    await hand.provisioner.delete_queue(name)
    return []


async def _without_stream(hand: _Hand, name: str, *, with_events: bool) -> list[str]:
    there = await hand.provisioner.stream(name)
    if there is None or not is_ours(hand.tags, there.tags):
        return []
    if not with_events:
        return [f"Kinesis stream {name}"]
    await hand.provisioner.delete_stream(name)
    return []


async def _prepared(source: Source, resource: CaptureStream, world: World, stream_id: str) -> Prepared:
    hand = _hand(resource, world, stream_id, resource.spec.ingest.lambda_)
    try:
        match source.type:
            case SourceType.SQS:
                found = await _queue(hand, source, source.sqs or SQSSource())
            case SourceType.KINESIS:
                found = await _stream(hand, source)
            case _:
                found = await _bus(hand, source, world)
    except PikError as error:
        arn, drift = _known_arn(hand, source), tuple(hand.drift)
        return Prepared(source, arn, _address(source), drift=drift, error=error)
    return replace(found, drift=tuple(hand.drift))


def _known_arn(hand: _Hand, source: Source) -> str | None:
    """Of what the function reads, though it cannot be looked at now: as the spec has it, or as its name and
    the function's place say. None while there is no function, which would read it."""
    attached = (source.sqs and source.sqs.queueARN) or (source.kinesis and source.kinesis.streamARN)
    function = next((each.arn for each in hand.resource.status.functions if each.arn is not None), None)
    if attached or function is None:
        return str(attached) if attached else None
    place = place_of(function)
    if source.type is SourceType.KINESIS:
        return place.stream(hand.name(source))
    return place.queue(hand.name(source))


def _address(source: Source) -> str | None:
    """As far as the spec says it."""
    return None if source.eventBridge is None else f"{_BUS}{source.eventBridge.busName}"


async def _queue(hand: _Hand, source: Source, of_it: SQSSource) -> Prepared:
    if of_it.queueARN is None:
        queue, dead = await _own_queue(hand, source, of_it.maxReceiveCount)
        return Prepared(source, queue.arn, queue.url, dead.url)
    there = await hand.provisioner.queue(of_it.queueARN.rsplit(":", 1)[1])
    if there is None or there.arn != of_it.queueARN:
        raise Unusable(f"there is no queue {of_it.queueARN} in this account and region")
    check_attached(there, hand.timeout)
    return Prepared(source, there.arn, there.url, there.dead_letters)


async def _own_queue(
    hand: _Hand, source: Source, receives: int, rule: str | None = None
) -> tuple[ObservedQueue, ObservedQueue]:
    """With its dead-letter queue."""
    dead = await hand.queue(
        Queue(hand.name(source, DEAD), _DEAD_HIDDEN, hand.tags, retention_seconds=DEAD_RETENTION)
    )
    visibility = HIDDEN * hand.timeout
    queue = await hand.queue(Queue(hand.name(source), visibility, hand.tags, dead.arn, receives, rule))
    return queue, dead


async def _stream(hand: _Hand, source: Source) -> Prepared:
    arn = None if source.kinesis is None else source.kinesis.streamARN
    if arn is not None:
        return Prepared(source, arn, arn)
    name = hand.name(source)
    there = await hand.provisioner.stream(name)
    if await hand.settle(stream_differences(name, hand.tags, there)):
        there = await hand.provisioner.stream(name)
    if there is None:
        raise Unavailable(f"the Kinesis stream {name} is being made")
    return Prepared(source, there.arn, there.arn)


async def _bus(hand: _Hand, source: Source, world: World) -> Prepared:
    of_it = source.eventBridge
    if of_it is None:
        raise Unusable(f"the source {source.name} says nothing of its bus")
    name, bus, receives = hand.name(source), of_it.busName, of_it.maxReceiveCount
    address = f"{_BUS}{bus}"
    try:
        world.roles.check_source(address, hand.resource.metadata.namespace)
    except SourceNotAllowed:
        await hand.provisioner.apply(StopRule(name, bus))
        raise
    before = next((each.address for each in hand.resource.status.sources if each.name == source.name), None)
    if before is not None and before != address:
        await _without_rule(hand, name, before.removeprefix(_BUS))
    known = await hand.provisioner.queue(name)
    if known is None:
        known, _ = await _own_queue(hand, source, receives)
    # the queue lets the rule in before there is one: what a bus cannot deliver is gone
    queue, dead = await _own_queue(hand, source, receives, place_of(known.arn).rule(name, bus))
    there = await hand.provisioner.rule(name, bus)
    rule = Rule(name, bus, of_it.pattern, queue.arn, not hand.resource.spec.suspend, hand.tags)
    await hand.settle(rule_differences(rule, there))
    return Prepared(source, queue.arn, address, dead.url)


def _mapping(source: Source, arn: str, function: ObservedFunction) -> Mapping:
    of_it = source.sqs or source.kinesis or source.eventBridge
    return Mapping(
        arn,
        function.live_arn,
        100 if of_it is None else of_it.batchSize,
        enabled=True,
        starting_position=None if source.kinesis is None else source.kinesis.startingPosition,
    )
