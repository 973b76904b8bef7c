"""The engine against a small model of the laws: a dict of what must be so.

A state machine of hypothesis ingests, repeats, contradicts, comes late, lets processes die at a port call,
replays, feeds replays back, aggregates, drops the table and rebuilds it. The model knows what clients were
told and nothing of how it is done. `make truth` looks further; hypothesis prints the steps of a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pik.domain.arrivals import Arrival
from pik.domain.instants import Instant
from pik.execution.capture.answers import Answer, Status
from pik.execution.orphans import index_orphans
from pik.execution.reindex import reindex
from pik.execution.replay.runs import read_end
from pik.execution.seals import seal_segments
from pik.execution.stream import Deduplication
from pik.execution.verify import Kind, verify
from truth.answers import WINDOW, aggregated, inspected
from truth.kit import Kit, Life, Sent
from truth.replaying import Target, planned, run_of, sent

T = TypeVar("T")
EXAMPLES = int(os.environ.get("PIK_MODEL", "12"))
STEPS = 14

sendings = st.lists(
    st.builds(
        Sent,
        key=st.integers(0, 5),
        variant=st.sampled_from([0, 0, 1, 2]),
        at=st.sampled_from([0, 0, -3_000]),
    ),
    min_size=1,
    max_size=4,
)
deaths = st.builds(Life, st.integers(1, 16), st.booleans())


Content = tuple[Instant, bytes]
"""What tells a repeat from a contradiction."""


def content(arrival: Arrival) -> Content:
    return arrival.event_time, arrival.data


class Laws(RuleBasedStateMachine):
    """`told`: what clients were answered, in order. `versions`: what was computed, by when it was known.
    `runs`: the plan and the target of each replay."""

    deduplication: Deduplication

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="pik-model-"))
        self.kit = Kit(self.folder, self.deduplication)
        self.told: list[tuple[Arrival, Answer]] = []
        self.versions: dict[Instant, Any] = {}
        self.runs: dict[str, tuple[Any, Target]] = {}
        self.dropped = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.do(reindex(self.kit.stream(), self.kit.table.ensure))

    # what happens

    @rule(wanted=sendings)
    def ingest(self, wanted: list[Sent]) -> None:
        """New events, repeats, contradictions, late ones: as the draw has it."""
        answers = self.do(self.kit.ingest(wanted))
        if self.dropped:
            assert answers is None  # a table that is gone is not an empty one
            return
        assert answers is not None
        self.hear(wanted, answers)

    @rule(wanted=sendings, life=deaths)
    def ingest_and_die(self, wanted: list[Sent], life: Life) -> None:
        """The writer dies; its client sends all of it again, to another."""
        answers = self.do(self.kit.ingest(wanted, life))
        if answers is None and not self.dropped:
            answers = self.do(self.kit.ingest(wanted))
            assert answers is not None
        if answers is not None:
            self.hear(wanted, answers)

    @rule(wanted=sendings, others=sendings, life=deaths)
    @precondition(lambda self: not self.dropped)
    def race(self, wanted: list[Sent], others: list[Sent], life: Life) -> None:
        """Two writers at a time, one of which dies and whose client tries again."""

        async def both() -> tuple[list[Answer] | None, list[Answer] | None]:
            one, other = await asyncio.gather(self.kit.ingest(wanted, life), self.kit.ingest(others))
            return one or await self.kit.ingest(wanted), other

        for what, answers in zip((wanted, others), self.do(both()), strict=True):
            assert answers is not None
            self.hear(what, answers)

    @rule(seconds=st.sampled_from([0.4, 75.0, 4_000.0]))
    def wait(self, seconds: float) -> None:
        self.kit.clock.advance(seconds)

    @rule()
    @precondition(lambda self: not self.dropped)
    def drop_the_table(self) -> None:
        self.kit.table.drop()
        self.dropped = True

    @rule(life=st.none() | deaths)
    def rebuild(self, life: Life | None) -> None:
        done = self.do((life or Life()).lived(reindex(self.kit.stream(life), self.kit.table.ensure)))
        if done is None:  # somebody does it again
            self.do(reindex(self.kit.stream(), self.kit.table.ensure))
        self.dropped = False

    @rule()
    @precondition(lambda self: not self.dropped)
    def tend(self) -> None:
        self.do(index_orphans(self.kit.stream()))
        self.do(seal_segments(self.kit.stream(), settle=0))

    @rule(life=st.none() | deaths, shards=st.sampled_from([1, 2]))
    @precondition(lambda self: not self.dropped)
    def replay(self, life: Life | None, shards: int) -> None:
        """A run of everything. Its worker may die; another goes on with it."""
        key, target, now = f"r{len(self.runs)}", Target(), self.kit.clock.now()
        plan = self.do(planned(self.kit.stream(), key, now, shards=shards))
        if life is not None:
            self.do(life.lived(sent(self.kit.stream(life), plan, key, target, "first")))
            self.kit.clock.advance(60)  # its lease ends
        stream = self.kit.stream()
        count = self.do(sent(stream, plan, key, target, "second"))
        arrived = {each.key: each for each in target.arrived}  # as a target that drops repeats has them
        assert count == len(arrived) == plan.measure.matched
        must = {event_id: data for event_id, (_, data) in self.must_be().items()}
        assert {each.event_id: each.data.encode() for each in arrived.values()} == must
        self.runs[key] = (plan, target)

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def replay_again(self, data: st.DataObject) -> None:
        """A run that has ended sends nothing, whoever asks."""
        key = data.draw(st.sampled_from(sorted(self.runs)))
        plan, target = self.runs[key]
        before = len(target.bucket.objects)
        self.do(sent(self.kit.stream(), plan, key, target, "third"))
        assert len(target.bucket.objects) == before
        assert self.do(read_end(self.kit.stream(), plan.run_id)) is not None

    @rule(data=st.data())
    @precondition(lambda self: self.runs and not self.dropped)
    def feed_back(self, data: st.DataObject) -> None:
        """What was replayed comes back, marked: it is no news (law 10)."""
        key = data.draw(st.sampled_from(sorted(self.runs)))
        run = run_of(self.kit.stream(), key)
        returned = {each.event_id for each in self.runs[key][1].arrived}
        by_id = {arrival.event_id: arrival for arrival in self.sent() if arrival.event_id in returned}
        if not by_id:
            return
        back = [by_id[event_id] for event_id in sorted(by_id)][:3]
        before = self.do(self.counts())
        events = self.do(self.events())
        answers = self.do(self.kit.ingest([_back(arrival, run) for arrival in back]))
        assert answers is not None
        assert {answer.status for answer in answers} == {Status.REPLAYED}
        assert self.do(self.counts()) == before
        assert self.do(self.events()) == events

    @rule()
    @precondition(lambda self: not self.dropped)
    def aggregate(self) -> None:
        """As known now, and for good: what comes at the same instant and later is not in it."""
        self.kit.clock.advance(0.001)
        now = self.kit.clock.now()
        found = self.do(aggregated(self.kit.stream(), now))
        self.versions[now] = found
        self.check_aggregate(found)

    @rule(data=st.data())
    @precondition(lambda self: self.versions and not self.dropped)
    def aggregate_again(self, data: st.DataObject) -> None:
        as_of = data.draw(st.sampled_from(sorted(self.versions)))
        assert self.do(aggregated(self.kit.stream(), as_of)) == self.versions[as_of]

    # what must be so

    def hear(self, wanted: list[Sent], answers: list[Answer]) -> None:
        for each, answer in zip(wanted, answers, strict=True):
            self.told.append((each.arrival, answer))

    def sent(self) -> list[Arrival]:
        return [arrival for arrival, _ in self.told]

    def must_be(self) -> dict[str, Content]:
        """What the events must be, by the answers alone where they say it: `OnWrite`. What was accepted for a
        writer that died is known from what its client was told then. Where reading decides, by raw."""
        if self.deduplication is Deduplication.ON_READ:
            return self.do(self.events())
        must: dict[str, Content] = {}
        for arrival, answer in self.told:
            if answer.status is Status.ACCEPTED:
                assert arrival.event_id not in must, "accepted twice"
                must[arrival.event_id] = content(arrival)
        for arrival, answer in self.told:
            if answer.status is Status.DUPLICATE:
                assert must.setdefault(arrival.event_id, content(arrival)) == content(arrival)
        for arrival, answer in self.told:
            if answer.status is Status.CONFLICT:
                assert must[arrival.event_id] != content(arrival)
        return must

    async def events(self) -> dict[str, Content]:
        """The events by the rows of the bucket, read without the engine's rules: accepted, or the first."""
        stream = self.kit.stream()
        rows = []
        async for info in stream.objects.list(stream.layout.raw):
            head, found = stream.codec.decode((await stream.objects.read(info.key)).body)
            rows += [((head.ingest_time, str(head.segment), row.row), row) for row in found]
        events: dict[str, Content] = {}
        for _, row in sorted(rows, key=lambda placed: placed[0]):
            if row.outcome in ("ACCEPTED", "RECORDED"):
                events.setdefault(row.arrival.event_id, content(row.arrival))
        return events

    async def counts(self) -> tuple[int, int, int]:
        """Arrivals that count, duplicates, conflicts."""
        found = await inspected(self.kit.stream(), self.kit.clock.now())
        repeats = found["duplicates"]
        return repeats.arrivals, repeats.duplicates, found["conflicts"].conflicts_found

    def check_aggregate(self, found: Any) -> None:
        """Against a count by hand of what lies in its window."""
        record, _, rows = found
        inside = [time for time, _ in self.do(self.events()).values() if WINDOW.start <= time < WINDOW.end]
        assert sum(row[-2] for row in rows) == record.input_count == len(inside)

    def teardown(self) -> None:
        try:
            self.judge()
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    def judge(self) -> None:
        """At the end: everything that was told is there, the index is as raw has it, nothing is odd."""
        if self.dropped:
            self.rebuild(None)
        self.kit.clock.advance(100)
        self.tend()
        stream = self.kit.stream()
        assert self.do(self.events()) == self.must_be()
        self.replay(None, 1)
        result = self.do(verify(stream))
        assert result.ok, result
        assert {finding.kind for finding in result.findings} <= {Kind.ABANDONED}
        statuses = Counter(answer.status for _, answer in self.told)
        arrivals, duplicates, conflicts = self.do(self.counts())
        assert arrivals >= len(self.told)
        if self.deduplication is Deduplication.ON_WRITE:
            # rows of writers that died were told to nobody, and are counted
            assert duplicates >= statuses[Status.DUPLICATE]
            assert conflicts >= statuses[Status.CONFLICT]
        for as_of, found in self.versions.items():
            assert self.do(aggregated(stream, as_of)) == found


def _back(arrival: Arrival, run: str) -> Sent:
    (found,) = [
        each
        for key in range(6)
        for variant in range(3)
        for at in (0, -3_000)
        if (each := Sent(key, variant, at)).arrival == arrival
    ]
    return Sent(found.key, found.variant, found.at, replay_of=run)


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_the_engine_keeps_the_laws(deduplication: Deduplication) -> None:
    machine = type("Machine", (Laws,), {"deduplication": deduplication})
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if "PIK_MODEL" in os.environ else [])]
    run_state_machine_as_test(
        machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=phases)
    )
