"""What is done on a stream while nothing is wrong with it: its counters are read, what landed without a
manifest row is indexed, and what has landed is sealed. Each at its own time, and none where there is nothing
to find: a stream that takes no events is hardly ever asked about."""

from __future__ import annotations

from pik.api.stream_status import Counters
from pik.controller.counting import Counts
from pik.controller.objects import ObjectKey
from pik.controller.outcome import EventType, ObjectEvent
from pik.controller.told import Told
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import Tampered
from pik.domain.instants import Instant, parse_instant
from pik.execution.orphans import index_orphans
from pik.execution.seals import continue_seals

_LOOKS_A_SECOND = 2.0  # for first events, of all streams together
_DAY = 86_400.0  # seconds
_EVER = float("inf")
_LATE = 7_200_000_000  # microseconds


async def counted(opened: OpenStream, world: World, told: Told, *, looked: bool) -> Told:
    """With the counters as they are, where it is time to read them. `looked`: the rest of the stream was
    looked at just now, and so are these, if they were not a moment ago."""
    status = told.status
    opened.empty = status.firstIngestTime is None
    since = _seconds(told.now, opened.counted)
    due = since is None or since >= _interval(opened, world, told)
    first = opened.capture.fresh and opened.empty
    if not (first or due or (looked and (since or 0.0) >= world.timing.counters)):
        return told
    opened.capture.fresh = False
    counts = await opened.tally.count(told.now)
    opened.counted = told.now
    before = status.counters
    counters = _counters(counts, told.now)
    if before is None or counters.model_copy(update={"observedTime": before.observedTime}) != before:
        told = told.having(counters=counters)
    if opened.empty and counts.first_ingest is not None:
        told = told.having(firstIngestTime=counts.first_ingest.text)
        opened.empty = False
    return told


async def tended(
    key: ObjectKey, opened: OpenStream, world: World, now: Instant, *, looked: bool
) -> tuple[ObjectEvent, ...]:
    """Raw that is not what was recorded of it stops neither; `pik verify` names all of it."""
    swept = await _swept(key, opened, world, now) if looked else ()
    return (*swept, *await _sealed(key, opened, world, now))


def soonest(opened: OpenStream, world: World, told: Told) -> float:
    """Seconds until something is to be done on a stream with which nothing is wrong."""
    waits = [_interval(opened, world, told) - (_seconds(told.now, opened.counted) or 0.0)]
    if opened.looked is not None:
        waits.append((opened.looked.until.micros - told.now.micros) / 1e6)
    if _has_news(opened):
        waits.append(world.timing.seals - (_seconds(told.now, opened.sealed) or 0.0))
    return max(0.5, min(waits))


def _interval(opened: OpenStream, world: World, told: Told) -> float:
    """Seconds from the last count to the next: as long as nothing had come then, so that what is quiet is
    counted ever more seldom, up to once in a resync; and as timing says while events arrive.

    The first event freezes the mapping, so that it is looked for more often; but for all streams together no
    more than twice a second, however many have none."""
    timing = world.timing
    if opened.capture.fresh:
        return timing.counters
    if opened.empty and timing.first is not None:
        empty = sum(one.empty for one in world.workshop.opened())
        return min(max(timing.counters, timing.resync), max(timing.first, empty / _LOOKS_A_SECOND))
    counters = told.status.counters
    last = None if counters is None else counters.lastIngestTime
    quiet = _seconds(opened.counted or told.now, opened.since if last is None else parse_instant(last)) or 0.0
    return min(max(timing.counters, quiet), max(timing.counters, timing.resync))


def _counters(counts: Counts, now: Instant) -> Counters:
    return Counters(
        events=counts.events,
        duplicates=counts.duplicates,
        conflicts=counts.conflicts,
        lastIngestTime=None if counts.last_ingest is None else counts.last_ingest.text,
        observedTime=now.text,
    )


async def _swept(key: ObjectKey, opened: OpenStream, world: World, now: Instant) -> tuple[ObjectEvent, ...]:
    """Of the hours since the last time, in which a segment may have landed late; of all hours once a day."""
    if (_seconds(now, opened.swept) or _EVER) < world.timing.orphans:
        return ()
    since = None
    if opened.swept is not None and (_seconds(now, opened.swept_all) or _EVER) < _DAY:
        since = Instant(max(0, opened.swept.micros - _LATE))
    swept = await index_orphans(opened.stream, since)
    opened.swept = now
    if since is None:
        opened.swept_all = now
    opened.built = None  # what cannot have changed is read again with it
    world.observer.swept(key, len(swept.indexed), len(swept.unreadable))
    events = []
    if swept.indexed:
        opened.tally.forget()
        message = f"{len(swept.indexed)} segments had landed without being indexed"
        events.append(ObjectEvent(EventType.NORMAL, "OrphansIndexed", message))
    if swept.unreadable:
        events.append(ObjectEvent(EventType.WARNING, "RawUnreadable", "; ".join(swept.unreadable[:3])))
    return tuple(events)


async def _sealed(key: ObjectKey, opened: OpenStream, world: World, now: Instant) -> tuple[ObjectEvent, ...]:
    if opened.sealed is None:  # streams that were opened together are not sealed together
        opened.sealed = Instant(now.micros - round(world.part() * world.timing.seals * 1e6))
    if not _has_news(opened) or (_seconds(now, opened.sealed) or 0.0) < world.timing.seals:
        return ()
    opened.sealed = now
    counts = opened.tally.latest
    chain, read = opened.chain or (None, now)
    if (_seconds(now, read) or 0.0) >= _DAY:
        chain, read = None, now
    try:
        seals, chain = await continue_seals(opened.stream, world.timing.settle, chain)
    except Tampered as error:
        opened.chain = None
        world.observer.seal_broken(key)
        return (ObjectEvent(EventType.WARNING, "SealBroken", str(error)),)
    opened.chain = (chain, read)
    world.observer.sealed(key, len(seals), sum(len(seal.segments) for seal in seals))
    if (_seconds(now, counts.last_ingest) or _EVER) > world.timing.settle:
        opened.sealed_news = counts.segments  # else the newest are still to be sealed
    return ()


def _has_news(opened: OpenStream) -> bool:
    """Whether there are segments that no seal of this process can name."""
    return opened.sealed_news != opened.tally.latest.segments


def _seconds(now: Instant, then: Instant | None) -> float | None:
    return None if then is None else (now.micros - then.micros) / 1e6
