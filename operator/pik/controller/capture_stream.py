"""CaptureStream: bucket and index as the spec has them, its owner on record, its door for events open.

A pass looks at everything when its object has changed or is not as it should be, and once in a resync. Every
other pass finds all of that right, as it was seen last, and only tends the stream.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pik.api.capture_stream import AuthType, CaptureStream
from pik.api.common import Toggle
from pik.api.conditions import ConditionType, Reason, condition_of
from pik.api.stream_status import IndexStatus, StorageStatus
from pik.controller.backfills import AGAIN as BACKFILL_AGAIN
from pik.controller.faults import outcome_of
from pik.controller.feed_removal import halted, is_fed
from pik.controller.naming import names_of
from pik.controller.objects import key_of
from pik.controller.outcome import Done, ObjectEvent, Outcome, Pass, Retry, Stalled, Waiting
from pik.controller.stream_feed import Fed, fed, with_backfills
from pik.controller.stream_index import WORK, built
from pik.controller.stream_storage import Bucket, Table, bucket_of, table_of
from pik.controller.tending import counted, soonest, tended
from pik.controller.told import Told, drift_events, reported, stalled_by, with_drift
from pik.controller.workshop import Looked, OpenStream, Place
from pik.controller.world import World
from pik.domain.errors import NoSuchBucket, NoSuchTable, NotReady, PikError, Unavailable
from pik.domain.instants import Instant, parse_instant

_GATEWAY_AGAIN = 5.0  # seconds until a gateway that did not answer is asked again, at first
_GATEWAY_LONGEST = 60.0
_T = ConditionType


async def reconcile_stream(resource: CaptureStream, world: World) -> Pass:
    """One pass. Raises nothing of pik's: what goes wrong is in the outcome and in the condition of the part
    that it concerns."""
    told = Told(resource.status, resource.metadata.generation or 0, world.clock.now())
    if resource.spec.suspend:
        return await _suspended(resource, world, told)
    opened = world.workshop.find(key_of(resource))
    if opened is not None and _is_as_seen(resource, opened, told.now):
        try:
            return await _at_work(resource, world, told, opened, (), looked=False)
        except (NoSuchTable, NoSuchBucket, NotReady):
            pass  # it is not as it was seen
        except PikError as error:
            opened.looked = None
            return await _fault(resource, world, told, _T.INDEX_READY, error)
    return await _look(resource, world, told)


async def _look(resource: CaptureStream, world: World, told: Told) -> Pass:
    """At everything, setting it right."""
    there = world.workshop.find(key_of(resource))
    first = there is None or there.looked is None
    if there is not None:
        there.looked = None  # until it has been found as it should be
    try:
        bucket = await bucket_of(resource, world)
        told = _with_bucket(resource, world, told, bucket)
    except PikError as error:
        return await _fault(resource, world, told, _T.STORAGE_READY, error)
    try:
        done = await _with_index(resource, world, told, bucket)
    except PikError as error:
        return await _fault(resource, world, told, _T.INDEX_READY, error)
    opened = world.workshop.find(key_of(resource))
    if opened is not None and _is_at_rest(done.outcome):
        opened.looked = Looked(*_version(resource), _next_look(world, told.now, first=first))
    return done


def _with_bucket(resource: CaptureStream, world: World, told: Told, bucket: Bucket) -> Told:
    names = names_of(resource, world)
    owner = bucket.owner
    told = told.having(
        streamID=owner.stream_id,
        storage=StorageStatus(
            bucket=names.bucket, prefix=resource.spec.storage.prefix, owner=str(owner.claimant)
        ),
    )
    if reported(bucket.drift):
        return told.condition(_T.STORAGE_READY, False, Reason.DRIFT_REPORTED)
    return told.condition(_T.STORAGE_READY, True, Reason.PROVISIONED)


async def _with_index(resource: CaptureStream, world: World, told: Told, bucket: Bucket) -> Pass:
    """The table set right and whole, and then the door open."""
    key = key_of(resource)
    there = world.workshop.find(key)
    if there is not None and world.background.is_running(key, WORK):
        table = Table(there.place.table, True, None, ())  # it is being made
    else:
        table = await table_of(resource, world, bucket.owner)
    drift = (*bucket.drift, *table.drift)
    told = told.having(
        index=IndexStatus(table=table.name), drift=with_drift(resource.status, drift, told.now)
    )
    events = drift_events(resource.status, told.status)
    owner = bucket.owner
    opened = await world.workshop.open(
        resource,
        Place(owner.stream_id, names_of(resource, world).bucket, table.name, owner.epoch),
        takes_events=_unguarded(resource, world) is None,
    )
    if any(difference.field == "table" for difference in reported(drift)):
        opened.whole = False
        told = told.condition(_T.INDEX_READY, False, Reason.DRIFT_REPORTED)
        told = await _with_gateway(resource, world, told, takes=False)
        return Pass(told.status, stalled_by(reported(drift)), events)
    building = await built(resource, world, opened, table)
    opened.whole = building is None
    if building is not None:
        told = await _with_gateway(resource, world, told, takes=False)
        told = told.condition(_T.INDEX_READY, False, building.reason, building.message)
        return Pass(told.status, building, events)
    if reported(table.drift):
        told = told.condition(_T.INDEX_READY, False, Reason.DRIFT_REPORTED)
    else:
        told = told.condition(_T.INDEX_READY, True, Reason.PROVISIONED)
    done = await _at_work(resource, world, told, opened, events, looked=True)
    if reported(drift):
        return Pass(done.status, stalled_by(reported(drift)), done.events)
    return done


async def _at_work(
    resource: CaptureStream,
    world: World,
    told: Told,
    opened: OpenStream,
    events: tuple[ObjectEvent, ...],
    *,
    looked: bool,
) -> Pass:
    """A stream whose bucket and index are as they should be: `looked` at just now, or as they were seen."""
    told = await _with_gateway(resource, world, told, takes=True)
    told = await counted(opened, world, told, looked=looked)
    events += await tended(key_of(resource), opened, world, told.now, looked=looked)
    done = await fed(resource, world, told, opened) if looked and is_fed(resource) else Fed(told, None)
    done = with_backfills(resource, world, opened, done, look=looked)
    told, events = done.told, (*events, *done.events)
    if done.outcome is not None:
        opened.looked = None  # the next pass looks at everything again
        return Pass(told.status, done.outcome, events)
    again = min(soonest(opened, world, told), BACKFILL_AGAIN if done.at_work else math.inf)
    unguarded = _unguarded(resource, world)
    if unguarded is not None:
        return Pass(told.status, replace(unguarded, again=again), events)
    gateway = condition_of(told.status.conditions, _T.GATEWAY_READY)
    if gateway is not None and gateway.reason == Reason.GATEWAY_UNAVAILABLE:
        away = (told.now.micros - parse_instant(gateway.lastTransitionTime).micros) / 1e6
        again = min(again, max(_GATEWAY_AGAIN, min(away, _GATEWAY_LONGEST)))
        return Pass(told.status, Waiting(Reason.GATEWAY_UNAVAILABLE, again=again), events)
    return Pass(told.status, Done(Reason.PROVISIONED, again=again), events)


async def _suspended(resource: CaptureStream, world: World, told: Told) -> Pass:
    """Nothing is taken and nothing set right; what is stored can be read."""
    status = resource.status
    if status.streamID is not None and status.storage is not None and status.index is not None:
        place = Place(status.streamID, status.storage.bucket or "", status.index.table or "")
        opened = await world.workshop.open(resource, place, takes_events=False)
        opened.whole = True  # as far as anybody knows: nothing is looked at
    told = told.condition(_T.GATEWAY_READY, False, Reason.SUSPENDED)
    told, wrong = await halted(resource, world, told)
    return Pass(told.status, wrong or Waiting(Reason.SUSPENDED))


async def _with_gateway(resource: CaptureStream, world: World, told: Told, *, takes: bool) -> Told:
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
    if ingest.gateway is not Toggle.ENABLED or world.gateway is None:
        return None
    match ingest.auth.type:
        case AuthType.NONE:
            return None
        case AuthType.TOKEN_REVIEW:
            if world.callers.reviews:
                return None
            why = "this gateway may not ask the API server who sends"
        case AuthType.TOKEN:
            secret = f"{resource.metadata.namespace}/{ingest.auth.secretRef and ingest.auth.secretRef.name}"
            if secret in world.callers.tokens:
                return None
            why = f"this gateway does not have the token of the Secret {secret}"
    message = (
        f"ingest.auth wants {ingest.auth.type}, and {why}: it takes no events. Whoever installs it can "
        "change that; else set ingest.auth.type to None, or capture by `pik import`"
    )
    return Stalled(Reason.AUTHENTICATION_UNAVAILABLE, message)


async def _fault(
    resource: CaptureStream, world: World, told: Told, part: ConditionType, error: PikError
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


def _is_as_seen(resource: CaptureStream, opened: OpenStream, now: Instant) -> bool:
    """Whether nothing has to be looked at but what is tended anyway."""
    looked, status = opened.looked, resource.status
    return (
        opened.whole
        and looked is not None
        and now < looked.until
        and (looked.generation, looked.annotations) == _version(resource)
        # a status that was lost is found out anew
        and status.streamID == opened.place.stream_id
        and status.storage is not None
        and status.index is not None
    )


def _is_at_rest(outcome: Outcome) -> bool:
    """Whether bucket and index are as they should be."""
    return isinstance(outcome, Done) or outcome.reason in (
        Reason.GATEWAY_UNAVAILABLE,
        Reason.AUTHENTICATION_UNAVAILABLE,
    )


def _version(resource: CaptureStream) -> tuple[int | None, int]:
    """Changes with what a person has said of the stream."""
    meta = resource.metadata
    return meta.generation, hash(frozenset(meta.annotations.items()))


def _next_look(world: World, now: Instant, *, first: bool) -> Instant:
    """Within a resync. The first is any time in it, so that streams that came together do not stay so."""
    part = 0.1 + 0.9 * world.part() if first else 0.9 + 0.1 * world.part()
    return Instant(now.micros + round(world.timing.resync * part * 1e6))
