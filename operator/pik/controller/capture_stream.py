"""CaptureStream: bucket and index as the spec has them, its owner on record, its door for events open."""

from __future__ import annotations

from dataclasses import dataclass

from pik.api.capture_stream import (
    AuthType,
    CaptureStream,
    CaptureStreamStatus,
    Counters,
    Drift,
    DriftAction,
    IndexStatus,
    StorageStatus,
    Toggle,
)
from pik.api.common import StatusCondition
from pik.api.conditions import REASONS, ConditionType, Reason, condition_of, with_condition
from pik.controller.faults import STALLED_AGAIN, outcome_of
from pik.controller.naming import claimant_of, names_of
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import Done, EventType, ObjectEvent, Pass, Retry, Stalled, Waiting
from pik.controller.workshop import OpenStream, Place
from pik.controller.world import World
from pik.domain.errors import NoSuchTable, PikError, Tampered, Unavailable
from pik.domain.instants import Instant, parse_instant
from pik.execution.generations import newest_record
from pik.execution.orphans import index_orphans
from pik.execution.ownership import OwnerRecord, claim, read_owner
from pik.execution.reindex import Reindexed, reindex
from pik.execution.seals import seal_segments
from pik.planning.storage import (
    Difference,
    SetTableTags,
    bucket_differences,
    longer_retention,
    plan,
    table_differences,
    table_name,
)

TAKE_OVER_FROM = "pik.dev/take-over-from"
"""Annotation: the old owner's cluster/namespace/name, written by a person."""

REINDEX = "pik.dev/reindex"
"""Annotation: an instant (RFC 3339); an index that was built before it is built anew."""

_REINDEX = "reindex"  # the name of this work in the background
_MAX_DRIFT = 10
_LOOKS_A_SECOND = 2.0  # for first events
_GATEWAY_AGAIN = 5.0  # seconds until a gateway that did not answer is asked again
_T = ConditionType


@dataclass(frozen=True, slots=True)
class _Told:
    """What a pass has found out so far. Each step gives a new one."""

    status: CaptureStreamStatus
    generation: int
    now: Instant

    def condition(self, kind: ConditionType, status: bool | None, reason: Reason, message: str = "") -> _Told:
        if reason not in REASONS[CaptureStream.KIND][kind]:
            status, reason = None, Reason.UNKNOWN
        conditions: tuple[StatusCondition, ...] = with_condition(
            self.status.conditions,
            kind,
            status,
            reason,
            message or reason.meaning,
            generation=self.generation,
            now=self.now,
        )
        return self.having(conditions=conditions)

    def having(self, **fields: object) -> _Told:
        return _Told(self.status.model_copy(update=fields), self.generation, self.now)


async def reconcile_stream(resource: CaptureStream, world: World) -> Pass:
    """One pass. Raises nothing of pik's: what goes wrong is in the outcome and in the condition of the part
    that it concerns."""
    told = _Told(resource.status, resource.metadata.generation or 0, world.clock.now())
    if resource.spec.suspend:
        return await _suspended(resource, world, told)
    try:
        told, owner, found = await _storage(resource, world, told)
    except PikError as error:
        return await _fault(resource, world, told, _T.STORAGE_READY, error)
    try:
        return await _index(resource, world, told, owner, found)
    except PikError as error:
        return await _fault(resource, world, told, _T.INDEX_READY, error)


async def _suspended(resource: CaptureStream, world: World, told: _Told) -> Pass:
    """Nothing is taken and nothing set right; what is stored can be read."""
    status = resource.status
    if status.streamID is not None and status.storage is not None and status.index is not None:
        place = Place(status.streamID, status.storage.bucket or "", status.index.table or "")
        opened = await world.workshop.open(resource, place, takes_events=False)
        opened.whole = True  # as far as anybody knows: nothing is looked at
    told = told.condition(_T.GATEWAY_READY, False, Reason.SUSPENDED)
    return Pass(told.status, Waiting(Reason.SUSPENDED))


async def _storage(
    resource: CaptureStream, world: World, told: _Told
) -> tuple[_Told, OwnerRecord, list[tuple[Difference, DriftAction]]]:
    """The bucket set right, and this stream its owner."""
    spec, status = resource.spec, resource.status
    names = names_of(resource, world)
    claimant = claimant_of(resource, world)
    cloud = world.cloud.of(resource)
    provisioner = cloud.provisioner(spec.storage.region)
    objects = cloud.objects(names.bucket, spec.storage)

    async def claimed() -> OwnerRecord:
        return await claim(
            objects,
            names.prefix,
            claimant,
            world.entropy,
            known_stream=status.streamID,
            take_over_from=resource.metadata.annotations.get(TAKE_OVER_FROM),
        )

    there = await provisioner.bucket(names.bucket)
    owner = None
    if there is not None and await read_owner(objects, names.prefix) is not None:
        owner = await claimed()  # before anything is changed: it may be another's
    differences = bucket_differences(
        spec, names, there, owned=owner is not None, known_stream=status.streamID
    )
    wanted = plan(spec, differences, settled=_is_settled(resource))
    for action in wanted.actions:
        await provisioner.apply(action)
    owner = owner or await claimed()
    told = told.having(
        streamID=owner.stream_id,
        storage=StorageStatus(bucket=names.bucket, prefix=spec.storage.prefix, owner=str(owner.claimant)),
    )
    if any(action is DriftAction.REPORTED for _, action in wanted.drift):
        told = told.condition(_T.STORAGE_READY, False, Reason.DRIFT_REPORTED)
    else:
        told = told.condition(_T.STORAGE_READY, True, Reason.PROVISIONED)
    return told, owner, list(wanted.drift)


async def _index(
    resource: CaptureStream,
    world: World,
    told: _Told,
    owner: OwnerRecord,
    drift: list[tuple[Difference, DriftAction]],
) -> Pass:
    """The table set right and whole, and then the door open."""
    spec = resource.spec
    names = names_of(resource, world)
    table = table_name(spec, names.name, owner.stream_id)
    provisioner = world.cloud.of(resource).provisioner(spec.storage.region)
    observed = await provisioner.table(table)
    differences = table_differences(spec, names, table, owner.stream_id, observed)
    wanted = plan(spec, differences, settled=_is_settled(resource))
    for action in wanted.actions:
        await provisioner.apply(action)
    drift += wanted.drift
    longer = None if observed is None else longer_retention(spec, table, observed)
    told = told.having(index=IndexStatus(table=table), drift=_with_drift(resource.status, drift, told.now))
    events = _drift_events(resource.status, told.status)
    unguarded = _unguarded(resource, world)
    opened = await world.workshop.open(
        resource,
        Place(owner.stream_id, names.bucket, table, owner.epoch),
        takes_events=unguarded is None,
    )
    reported = [difference for difference, action in drift if action is DriftAction.REPORTED]
    if any(difference.field == "table" for difference in reported):
        opened.whole = False
        told = told.condition(_T.INDEX_READY, False, Reason.DRIFT_REPORTED)
        told = await _with_gateway(resource, world, told, takes=False)
        return Pass(told.status, _reported(reported), events)
    building = await _built(resource, world, opened, longer)
    opened.whole = building is None
    told = await _with_gateway(resource, world, told, takes=opened.whole)
    if building is not None:
        told = told.condition(_T.INDEX_READY, False, building.reason, building.message)
        return Pass(told.status, building, events)
    index_drift = any(difference.resource == table for difference in reported)
    told = told.condition(
        _T.INDEX_READY, not index_drift, Reason.DRIFT_REPORTED if index_drift else Reason.PROVISIONED
    )
    told = await _counted(opened, world, told)
    events += await _tended(key_of(resource), opened, world, told.now)
    if reported:
        return Pass(told.status, _reported(reported), events)
    if unguarded is not None:
        return Pass(told.status, unguarded, events)
    gateway = condition_of(told.status.conditions, _T.GATEWAY_READY)
    if gateway is not None and gateway.reason == Reason.GATEWAY_UNAVAILABLE:
        return Pass(told.status, Waiting(Reason.GATEWAY_UNAVAILABLE, again=_GATEWAY_AGAIN), events)
    return Pass(told.status, Done(Reason.PROVISIONED, again=_soonest(opened, world)), events)


async def _built(
    resource: CaptureStream, world: World, opened: OpenStream, longer: SetTableTags | None
) -> Waiting | None:
    """None where the index is whole, else what is waited for. Begins the rebuilding of one that is not: that
    of the newest generation record is the only one that counts. `longer`: events are kept longer than the
    entries live; what says otherwise is written when they have been made anew, so that no entry expires
    before its event."""
    key = key_of(resource)
    stream = opened.stream
    record = await newest_record(stream)
    reason = Reason.PROVISIONING if record is None else Reason.REINDEXING
    try:
        state = await stream.index.generation()
    except NoSuchTable:
        state = None
    running = world.background.is_running(key, _REINDEX)
    whole = (
        longer is None
        and record is not None
        and state is not None
        and state.ready
        and (state.number, state.nonce) == (record.number, record.nonce)
    )
    if whole and not running and not await _is_asked_for(resource, opened):
        opened.rebuilding = None
        world.background.drop(key, _REINDEX)
        return None
    if state is not None and not state.ready and not running:
        # another process may be at it: two at once only set each other back
        seen, since = opened.rebuilding or ("", world.clock.now())
        if seen != state.nonce:
            opened.rebuilding = (state.nonce, world.clock.now())
            return Waiting(reason, "another process is building the index", again=world.timing.rebuild)
        if not world.passed(since.micros, world.timing.rebuild):
            return Waiting(reason, "another process is building the index", again=world.timing.rebuild)

    async def rebuild() -> Reindexed:
        table = opened.place.table
        provisioner = opened.cloud.provisioner(resource.spec.storage.region)
        names = names_of(resource, world)

        async def ensure() -> None:
            there = await provisioner.table(table)
            for difference in table_differences(resource.spec, names, table, opened.place.stream_id, there):
                await provisioner.apply(difference.action)

        done = await reindex(stream, ensure)
        if longer is not None:
            await provisioner.apply(longer)
        return done

    if world.background.poll(key, _REINDEX, opened.place.table, rebuild) is not None:
        return await _built(resource, world, opened, None)
    return Waiting(reason)


async def _is_asked_for(resource: CaptureStream, opened: OpenStream) -> bool:
    """Whether a person wants an index that is newer than the one there is."""
    asked = resource.metadata.annotations.get(REINDEX)
    if asked is None:
        return False
    newest = None
    async for info in opened.stream.objects.list(opened.stream.layout.generations):
        newest = info
    return newest is None or parse_instant(asked) > newest.last_modified


async def _counted(opened: OpenStream, world: World, told: _Told) -> _Told:
    """At intervals, and when the first event has come: from then on the mapping is frozen."""
    status = told.status
    opened.empty = status.firstIngestTime is None
    first_seen = opened.capture.noticed and opened.empty
    if first_seen or world.passed(_micros(opened.counted), _count_again(opened, world)):
        counts = await opened.tally.count(told.now)
        opened.counted = told.now
        before = status.counters
        counters = Counters(
            events=counts.events,
            duplicates=counts.duplicates,
            conflicts=counts.conflicts,
            lastIngestTime=None if counts.last_ingest is None else counts.last_ingest.text,
            observedTime=told.now.text,
        )
        first = None if counts.first_ingest is None else counts.first_ingest.text
        if before is None or counters.model_copy(update={"observedTime": before.observedTime}) != before:
            told = told.having(counters=counters)
        told = told.having(firstIngestTime=status.firstIngestTime or first)
        opened.empty = told.status.firstIngestTime is None
    return told


def _count_again(opened: OpenStream, world: World) -> float:
    """Seconds between two counts of a stream. The first event freezes the mapping, so that it is looked for
    more often; but for all streams together no more than twice a second, however many have none."""
    timing = world.timing
    if timing.first is None or not opened.empty:
        return timing.counters
    empty = sum(one.empty for one in world.workshop.opened())
    return min(timing.counters, max(timing.first, empty / _LOOKS_A_SECOND))


async def _tended(key: ObjectKey, opened: OpenStream, world: World, now: Instant) -> tuple[ObjectEvent, ...]:
    """At intervals: what landed without a manifest row is indexed, and what has landed is sealed. Raw that
    is not what was recorded of it stops neither; `pik verify` names all of it."""
    events: list[ObjectEvent] = []
    if world.passed(_micros(opened.swept), world.timing.orphans):
        swept = await index_orphans(opened.stream)
        opened.swept = now
        world.observer.swept(key, len(swept.indexed), len(swept.unreadable))
        if swept.indexed:
            message = f"{len(swept.indexed)} segments had landed without being indexed"
            events.append(ObjectEvent(EventType.NORMAL, "OrphansIndexed", message))
        if swept.unreadable:
            events.append(ObjectEvent(EventType.WARNING, "RawUnreadable", "; ".join(swept.unreadable[:3])))
    if world.passed(_micros(opened.sealed), world.timing.seals):
        opened.sealed = now
        try:
            seals = await seal_segments(opened.stream, world.timing.settle)
            world.observer.sealed(key, len(seals), sum(len(seal.segments) for seal in seals))
        except Tampered as error:
            world.observer.seal_broken(key)
            events.append(ObjectEvent(EventType.WARNING, "SealBroken", str(error)))
    return tuple(events)


async def _with_gateway(resource: CaptureStream, world: World, told: _Told, *, takes: bool) -> _Told:
    """`takes`: whether there is an index to decide with."""
    if resource.spec.ingest.gateway is Toggle.DISABLED:
        return told.having(ingestURL=None).condition(_T.GATEWAY_READY, False, Reason.DISABLED)
    if world.gateway is None:
        return told.having(ingestURL=None).condition(_T.GATEWAY_READY, None, Reason.UNKNOWN)
    meta = resource.metadata
    url = f"{world.gateway}/v1/streams/{meta.namespace}/{meta.name}/events"
    told = told.having(ingestURL=url)
    unguarded = _unguarded(resource, world)
    if unguarded is not None:
        told = told.having(ingestURL=None)
        return told.condition(_T.GATEWAY_READY, False, unguarded.reason, unguarded.message)
    if not takes:
        return told.condition(_T.GATEWAY_READY, False, Reason.PROVISIONING, "it waits for the index")
    if not await world.gateway_answers():
        return told.condition(_T.GATEWAY_READY, False, Reason.GATEWAY_UNAVAILABLE)
    return told.condition(_T.GATEWAY_READY, True, Reason.PROVISIONED)


def _unguarded(resource: CaptureStream, world: World) -> Stalled | None:
    """Why events are not taken from anybody, where their senders have to be known and cannot be."""
    ingest = resource.spec.ingest
    wants = ingest.gateway is Toggle.ENABLED and ingest.auth.type is not AuthType.NONE
    if not wants or world.gateway is None or world.knows_callers:
        return None
    message = (
        f"ingest.auth wants {ingest.auth.type}, and this gateway cannot tell who sends: it takes no events. "
        "Set ingest.auth.type to None, or capture by `pik import`"
    )
    return Stalled(Reason.AUTHENTICATION_UNAVAILABLE, message)


async def _fault(
    resource: CaptureStream, world: World, told: _Told, part: ConditionType, error: PikError
) -> Pass:
    """The outcome of an error, and the condition of the part that it stands for. What is stalled takes no
    events; what AWS's absence interrupts stays open, and answers 503 by itself."""
    outcome = outcome_of(error, CaptureStream.KIND)
    unknown = isinstance(outcome, Retry) and isinstance(error, Unavailable)
    told = told.condition(part, None if unknown else False, outcome.reason, outcome.message)
    if part is _T.STORAGE_READY:
        told = told.condition(_T.INDEX_READY, None, Reason.UNKNOWN)
    if isinstance(outcome, Stalled):
        await world.workshop.close(key_of(resource))
        told = told.condition(_T.GATEWAY_READY, None, Reason.UNKNOWN)
    return Pass(told.status, outcome)


def _reported(differences: list[Difference]) -> Stalled:
    named = ", ".join(f"{difference.field} of {difference.resource}" for difference in differences)
    message = f"differs from the spec, and driftPolicy is Report: {named}"
    return Stalled(Reason.DRIFT_REPORTED, message, again=STALLED_AGAIN)


def _with_drift(
    status: CaptureStreamStatus, found: list[tuple[Difference, DriftAction]], now: Instant
) -> tuple[Drift, ...]:
    """The latest first. What is reported again keeps the time of its first report."""
    known = {(drift.resource, drift.field, drift.action) for drift in status.drift}
    new = tuple(
        Drift(resource=difference.resource, field=difference.field, action=action, time=now.text)
        for difference, action in found
        if action is DriftAction.REPAIRED or (difference.resource, difference.field, action) not in known
    )
    return (*new, *status.drift)[:_MAX_DRIFT]


def _drift_events(before: CaptureStreamStatus, after: CaptureStreamStatus) -> tuple[ObjectEvent, ...]:
    new = [drift for drift in after.drift if drift not in before.drift]
    return tuple(
        ObjectEvent(EventType.WARNING, f"Drift{drift.action}", f"{drift.field} of {drift.resource} differed")
        for drift in new
    )


def _is_settled(resource: CaptureStream) -> bool:
    """Whether this spec was carried out before."""
    return (
        resource.status.streamID is not None
        and resource.status.observedGeneration == resource.metadata.generation
    )


def _soonest(opened: OpenStream, world: World) -> float:
    return min(world.timing.resync, _count_again(opened, world), world.timing.seals)


def _micros(moment: Instant | None) -> int | None:
    return None if moment is None else moment.micros
