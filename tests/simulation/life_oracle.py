"""What the laws say of a stream's whole life, from the bucket's bytes and from what people were told.

It shares no decision with the engine: which segments count, which arrival is the event, what has expired,
what a plan or an aggregate must hold is worked out here once more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.instants import Instant, parse_instant
from pik.domain.segments import GenerationRecord, SegmentHead, SegmentID, parse_segment_id
from pik.execution.aggregate.records import record_key, rows_key
from pik.execution.capture.answers import Status
from pik.execution.reading.snapshot import Pin
from pik.execution.replay.ledger import read_ledger, reconcile_run
from pik.execution.stream import Deduplication
from pik.planning.definitions import version_of
from pik.planning.replay.records import EndState, RunKeys, RunRecord
from simulation.life import DEFINITION, END, START, Asked, Life
from simulation.plain import inputs_hash, rows_of
from simulation.world import BASE

DAY = 86_400_000_000
SETTLE = 60_000_000  # microseconds
SKEW = 0.3  # seconds by which clocks may differ


class Truth:
    """The segments there have ever been, and which of them count in the end."""

    def __init__(self, life: Life) -> None:
        world = life.world
        objects = {**world.objects.archive, **world.objects}
        newest = max(key for key in objects if key.startswith(world.layout.generations))
        record = msgspec.json.decode(objects[newest].body, type=GenerationRecord)
        self._days = world.retention_days
        self._counting = {*record.counting}
        self._generation = record.number
        self._on_read = world.deduplication is Deduplication.ON_READ
        self.heads: dict[str, SegmentHead] = {}
        self.rows: dict[str, list[Row]] = {}
        self.known: dict[str, Instant] = {}
        self.hashes: dict[str, str] = {}
        for key, stored in objects.items():
            if key.startswith(world.layout.raw):
                head, rows = world.codec.decode(stored.body)
                stamp, landed = head.ingest_time, stored.last_modified
                self.heads[key], self.rows[key], self.hashes[key] = head, rows, stored.etag
                self.known[key] = landed if landed.micros - stamp.micros > SETTLE else stamp

    def counts(self, segment: SegmentID) -> bool:
        return segment.generation == self._generation or segment in self._counting

    def expired(self, segment: SegmentID, at: float) -> bool:
        """At this second of the loop."""
        if self._days is None:
            return False
        today = (BASE + int(at * 1e6)) // DAY
        return today - segment.stamp_millis * 1000 // DAY > self._days

    def events(self, keys: Iterable[str]) -> list[Arrival]:
        """Of these segments, by the first-arrival rule."""
        if not self._on_read:
            return [row.arrival for key in keys for row in self.rows[key] if row.outcome is Outcome.ACCEPTED]
        first: dict[str, tuple[tuple[int, str, int], Arrival]] = {}
        for key in keys:
            head = self.heads[key]
            for row in self.rows[key]:
                place = (head.ingest_time.micros, str(head.segment), row.row)
                there = first.get(row.arrival.event_id)
                if there is None or place < there[0]:
                    first[row.arrival.event_id] = (place, row.arrival)
        return [arrival for _, arrival in first.values()]

    def inputs(self, keys: Iterable[str]) -> list[Arrival]:
        """The events of the window, in order of their ids."""
        found = [a for a in self.events(keys) if START.micros <= a.event_time.micros < END.micros]
        return sorted(found, key=lambda arrival: arrival.event_id)


async def judge(life: Life) -> list[str]:
    """The laws that this schedule broke, in words; empty when all hold."""
    truth = Truth(life)
    return [
        *life.log.broken,
        *(f"{key} was written over" for key in life.world.objects.rewritten),
        *_answers(life, truth),
        *_plans(life, truth),
        *await _runs(life, truth),
        *_aggregates(life, truth),
    ]


def _winner(told_status: Status | None, s3_key: str | None, winner: str | None) -> str:
    kept = s3_key if told_status in (Status.ACCEPTED, Status.RECORDED) else winner
    return kept or ""


def _answers(life: Life, truth: Truth) -> list[str]:
    """Law 2: an answer is a promise, for as long as raw is retained."""
    broken = []
    now = life.world.loop.time() + SKEW
    accepted: dict[str, list[tuple[SegmentID, Row]]] = defaultdict(list)
    for key, rows in truth.rows.items():
        segment = truth.heads[key].segment
        if truth.counts(segment) and not truth.expired(segment, now):
            for row in rows:
                if row.outcome is Outcome.ACCEPTED:
                    accepted[row.arrival.event_id].append((segment, row))
    for identity, found in accepted.items():
        if len(found) > 1:
            broken.append(f"event {identity[:8]} is ACCEPTED {len(found)} times")
    for told in life.log.told:
        sent, answer = told.sent, told.answer
        holder = _winner(answer.status, answer.s3_key, answer.winner)
        place = answer.s3_key or ""
        if place not in truth.heads or holder not in truth.heads:
            broken.append(f"{answer.status} names {place or holder}, which is not there")
            continue
        if truth.expired(truth.heads[holder].segment, now):
            continue
        if not truth.counts(truth.heads[place].segment):
            broken.append(f"{answer.status} at {place}, which does not count")
        if [row.arrival for row in truth.rows[place] if row.row == answer.row] != [sent]:
            broken.append(f"{answer.status} at {place}#{answer.row} is not the arrival")
        if answer.status is Status.RECORDED:
            continue
        event = accepted.get(sent.event_id)
        if event is None:
            broken.append(f"{answer.status} was answered but {sent.event_id[:8]} is no event")
        elif (answer.status in (Status.ACCEPTED, Status.DUPLICATE)) != (event[0][1].arrival == sent):
            broken.append(f"{answer.status} of {sent.data!r}: {event[0][1].arrival.data!r} is the event")
    for identity, found in accepted.items():
        entry = life.cluster.table.entries.get(identity)
        if entry is None or (entry.segment, entry.row) != (found[0][0], found[0][1].row):
            broken.append(f"the index does not name the event {identity[:8]}")
    return broken


def _whole(
    life: Life, truth: Truth, what: str, keys: set[str], as_of: Instant, began: float, ended: float
) -> list[str]:
    """Law 5: what is planned or computed holds every segment that somebody had been told of before it began,
    and none that does not count or had expired."""
    broken = []
    for key in sorted(keys):
        segment = truth.heads[key].segment
        if truth.known[key] > as_of:
            broken.append(f"{what} has {key}, which was not known then")
        if not truth.counts(segment) and not truth.expired(segment, life.world.loop.time() + SKEW):
            broken.append(f"{what} has {key}, which does not count")
        if truth.expired(segment, began - SKEW):
            broken.append(f"{what} has {key}, which had expired")
    for told in life.log.told:
        if told.at > began:
            continue
        for key in {
            told.answer.s3_key or "",
            _winner(told.answer.status, told.answer.s3_key, told.answer.winner),
        }:
            segment = truth.heads[key].segment
            if key not in keys and truth.known[key] <= as_of and not truth.expired(segment, ended + SKEW):
                broken.append(f"{what} lacks {key}, of an event that was {told.answer.status} before")
    return broken


def _plans(life: Life, truth: Truth) -> list[str]:
    """The plan's segments, and that it counts the events in them by the rule, in a half-open window."""
    broken = []
    for planned in life.log.planned:
        plan = planned.plan
        keys = {segment.key for segment in plan.segments}
        what = f"plan {plan.hash[:8]}"
        broken += _whole(life, truth, what, keys, parse_instant(plan.as_of), planned.began, planned.ended)
        if any(truth.hashes[segment.key] != segment.sha256 for segment in plan.segments):
            broken.append(f"{what} has other bytes than there are")
        ids = [arrival.event_id for arrival in truth.inputs(keys)]
        if plan.measure.matched != len(ids) or len(set(ids)) != len(ids):
            broken.append(
                f"{what} counts {plan.measure.matched} events; it has {len(ids)}, {len(set(ids))} ids"
            )
    return broken


async def _runs(life: Life, truth: Truth) -> list[str]:
    """Law 6: the run sends its plan, each event once, in order, and repeats only what the ledger names."""
    broken = []
    world = life.world
    for run, ends in life.log.ends.items():
        keys = RunKeys(world.layout.run(run))
        record = msgspec.json.decode(world.objects[keys.record].body, type=RunRecord)
        plan = next(p.plan for p in life.log.planned if p.plan.hash == record.plan_hash)
        stream = world.process("judge").stream(life.cluster.table)
        if any(end != ends[0] for end in ends):
            broken.append(f"the workers saw other ends: {ends}")
        wanted = {a.event_id: a for a in truth.inputs([segment.key for segment in plan.segments])}
        received = [taken for taken in life.target.received if taken.run_id == run]
        sent = {taken.event_id for taken in received}
        if sent - wanted.keys():
            broken.append(f"{len(sent - wanted.keys())} events were sent that are not in the plan")
        if any(wanted[t.event_id].data not in t.body for t in received if t.event_id in wanted):
            broken.append("an event was sent with another payload")
        if ends[0].state is EndState.SUCCEEDED:
            if sent != wanted.keys() or ends[0].totals.sent != len(wanted):
                broken.append(f"{len(wanted.keys() - sent)} events of the plan are missing")
            if not (await reconcile_run(stream, plan)).whole:
                broken.append("the ledger is not whole")
        elif world.retention_days is None:
            broken.append(f"the run failed: {ends[0].message}")
        else:
            world.note("runs ended by retention")
        named = set()
        async for head, entries in read_ledger(stream, run):
            named |= {entry.key for entry in entries if head.in_doubt or entry.attempts > 1}
            world.seen["chunks in doubt"] += head.in_doubt
        begun_again = ends[0].state is not EndState.SUCCEEDED  # its last chunk has no outcome to name it
        again = {key for key, times in Counter(t.key for t in received).items() if times > 1}
        world.seen["repeats"] += len(again)
        if again - named and not begun_again:
            broken.append(f"{len(again - named)} repeats that the ledger does not name")
        firsts: dict[str, list[str]] = defaultdict(list)
        for taken in received:
            if taken.event_id not in firsts[taken.entity_id]:
                firsts[taken.entity_id].append(taken.event_id)
        for entity, ids in firsts.items():
            times = [wanted[each].event_time for each in ids if each in wanted]
            if times != sorted(times):
                broken.append(f"{entity} is out of order")
    return broken


def _aggregates(life: Life, truth: Truth) -> list[str]:
    """Law 7: the same question as known at the same time has one answer, which follows from the events that
    were known, and whose rows never change."""
    broken = []
    world = life.world
    stream = world.process("judge").stream()
    first: dict[str, Asked] = {}
    by_name: dict[str, str] = {}
    for asked in sorted(life.log.asked, key=lambda each: each.began):
        cut, version = asked.answer.as_of.cut, asked.answer.version
        before = first.setdefault(cut, asked)
        if before.answer.version != version:
            broken.append(f"as of {cut}: {before.answer.version[:8]}, and later {version[:8]}")
        if asked.as_of is None and by_name.setdefault(asked.name, version) != version:
            broken.append(f"{asked.name} was answered {by_name[asked.name][:8]}, and later {version[:8]}")
    for cut, asked in first.items():
        version = asked.answer.version
        pin = msgspec.json.decode(world.objects[world.layout.snapshot(cut)].body, type=Pin)
        keys = {world.layout.segment(parse_segment_id(segment.segment)) for segment in pin.segments}
        if keys - truth.heads.keys():
            broken.append(f"the snapshot of {cut} has a segment that never was")
            continue
        began = life.log.tried[asked.name if asked.as_of is None else cut]
        broken += _whole(life, truth, f"as of {cut}", keys, parse_instant(cut), began, asked.ended)
        inputs = truth.inputs(keys)
        if version != version_of(DEFINITION.hash, inputs_hash(inputs)):
            broken.append(f"{version[:8]} as of {cut} is not of the events that were known then")
        if world.objects[rows_key(stream, version)].body != rows_of(inputs):
            broken.append(f"the rows of {version[:8]} are not those of its events")
        if record_key(stream, version) not in world.objects:
            broken.append(f"{version[:8]} has no record")
    return broken
