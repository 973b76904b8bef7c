"""`pik explain`: every arrival of an event, which one it is and why, and where it went."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pandas as pd
import pytest

from pik.api.aggregate_version import AggregateVersionSpec
from pik.domain.arrivals import Arrival
from pik.domain.differences import Difference
from pik.domain.errors import Incomplete, Tampered
from pik.domain.identity import shard_of
from pik.domain.windows import Window
from pik.execution.aggregate.compute import compute
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.explain import Candidates, Explanation, Part, explain, find_events
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import run_keys
from pik.execution.stream import Deduplication
from pik.memory.sink import MemorySink, MemoryTarget
from pik.planning.definitions import definition_of
from reading.streams import World, after, arrival, world
from replay.slices import begin, run_of, spec, tools


async def ingest(made: World, *events: Arrival) -> list[Answer]:
    """One segment; then the clock moves on."""
    capture = Capture(made.stream, CaptureSettings(linger=0))
    answers = await capture.ingest(events)
    await capture.close()
    made.clock.advance(5)
    return answers


async def explained(made: World, prefix: str) -> Explanation:
    found = await explain(made.stream, prefix)
    assert isinstance(found, Explanation)
    return found


FIRST = arrival("k1", after(-60), b'{"delay": 33, "carrier": "UA"}', received_time=after(-30))
AGAIN = arrival("k1", after(-60), b'{ "carrier": "UA", "delay": 33 }')
OTHER = arrival("k1", after(-120), b'{"delay": 60, "carrier": "UA"}', entity_id="e2")


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_every_arrival_is_told_with_its_place_its_part_and_the_producers_own_text(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    made = await world(tmp_path, deduplication)
    answers = [(await ingest(made, sent))[0] for sent in (FIRST, AGAIN, OTHER)]
    await ingest(made, *(arrival(f"x{n}") for n in range(50)))
    found = await explained(made, FIRST.event_id)
    assert found.event_id == FIRST.event_id
    assert [told.part for told in found.arrivals] == [Part.EVENT, Part.DUPLICATE, Part.CONFLICT]
    assert found.event == 0
    for told, sent, answer in zip(found.arrivals, (FIRST, AGAIN, OTHER), answers, strict=True):
        assert (told.key, told.row) == (answer.s3_key, answer.row)
        assert told.payload == sent.data.decode()
        assert told.event_time_text == sent.event_time_text
        assert (told.received_time, told.event_time) == (sent.received_time, sent.event_time)
        assert (told.payload_sha256, told.fingerprint) == (sent.payload_sha256, sent.fingerprint)
        assert told.outcome == answer.status
    assert [told.differences for told in found.arrivals] == [
        (),
        (),
        (
            Difference("entity_id", "e1", "e2"),
            Difference("event_time", FIRST.event_time.exact_text, OTHER.event_time.exact_text),
            Difference("payload.delay", "33", "60"),
        ),
    ]
    winner = answers[0].s3_key if deduplication is Deduplication.ON_WRITE else None
    assert [told.winner for told in found.arrivals] == [None, winner, winner]


async def test_on_read_the_first_arrival_is_the_event_whatever_its_event_time(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    await ingest(made, OTHER)
    await ingest(made, FIRST)
    found = await explained(made, FIRST.event_id)
    assert [told.part for told in found.arrivals] == [Part.EVENT, Part.CONFLICT]
    assert found.arrivals[0].payload == OTHER.data.decode()
    assert "first of 2 arrivals" in found.reason


async def test_an_event_whose_own_arrival_expired_is_said_to_be_gone(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_WRITE, retention_days=1)
    await ingest(made, FIRST)
    made.clock.advance(24 * 3_600)
    await ingest(made, AGAIN)
    made.clock.advance(24 * 3_600)
    found = await explained(made, FIRST.event_id)
    assert found.event is None
    assert [told.part for told in found.arrivals] == [Part.DUPLICATE]
    assert "not in what is retained" in found.reason


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_a_prefix_finds_its_event_or_tells_the_candidates(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    made = await world(tmp_path, deduplication)
    events = [arrival(f"k{n}", after(n), entity_id=f"e{n}") for n in range(300)]
    await ingest(made, *events)
    await ingest(made, *events[:10])
    ids = sorted(event.event_id for event in events)
    by_id = {event.event_id: event for event in events}
    prefixes = [*"0123456789abcdef", *(ids[7][:digits] for digits in (2, 3, 4, 63))]
    for prefix in prefixes:
        matching = [event_id for event_id in ids if event_id.startswith(prefix)]
        found = await explain(made.stream, prefix, candidates=5)
        if len(matching) == 1:
            assert isinstance(found, Explanation)
            assert found.event_id == ids[7]
            continue
        assert isinstance(found, Candidates)
        assert found.matching == len(matching)
        assert [candidate.event_id for candidate in found.events] == matching[:5]
        for candidate in found.events:
            event = by_id[candidate.event_id]
            assert (candidate.entity_id, candidate.event_time) == (event.entity_id, event.event_time)
            assert candidate.arrivals == (2 if event in events[:10] else 1)


async def test_what_is_not_there_and_what_is_no_id(tmp_path: Path) -> None:
    made = await world(tmp_path)
    assert await explain(made.stream, "f" * 64) == Candidates("f" * 64, 0, ())
    await ingest(made, FIRST)
    absent = "0" if FIRST.event_id[0] != "0" else "1"
    for prefix in (absent, absent * 64):
        assert await explain(made.stream, prefix) == Candidates(prefix, 0, ())
    for wrong in ("", "xyz", "F" * 64, "f" * 65, "' OR 1=1"):
        with pytest.raises(ValueError, match="event id"):
            await explain(made.stream, wrong)


async def test_an_explanation_that_cannot_be_whole_is_none(tmp_path: Path) -> None:
    made = await world(tmp_path)
    (answer,) = await ingest(made, FIRST)
    key = str(answer.s3_key)
    stored = made.bucket.objects[key]
    made.bucket.objects[key] = msgspec.structs.replace(stored, body=stored.body[:-1])
    with pytest.raises(Tampered, match=key):
        await explain(made.stream, FIRST.event_id)
    del made.bucket.objects[key]
    with pytest.raises(Incomplete, match=key):
        await explain(made.stream, FIRST.event_id)


async def test_the_replays_that_an_event_went_into(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_WRITE)
    stream = made.stream
    events = [arrival(f"k{n}", after(n), entity_id=f"e{n % 7}") for n in range(60)]
    await ingest(made, *events)
    selector = DuckDBSelector(stream, str)
    first, second = sorted(["all", "some"], key=lambda key: run_of(stream, key), reverse=True)
    whole = await begin(stream, selector, spec(shards=4), first)
    target = MemoryTarget()
    await run_replay(stream, whole.run_id, tools(stream, selector, MemorySink(target)), 2)
    made.clock.advance(5)
    some = await begin(stream, selector, spec(select={"entities": ["e3"]}), second)
    await run_replay(stream, some.run_id, tools(stream, selector, MemorySink(target)), 1)
    begun = await begin(stream, selector, spec(shards=2), "begun")
    for event in (events[10], events[11]):  # of e3 and of e4
        found = await explained(made, event.event_id)
        runs = [whole.run_id, some.run_id] if event.entity_id == "e3" else [whole.run_id]
        assert [use.run_id for use in found.replays] == runs
        assert {use.result for use in found.replays} == {"sent"}
        assert {use.target for use in found.replays} == {"https://example.test/hook"}
        assert [use.run_key for use in found.replays] == [first, second][: len(runs)]
        assert {use.ended for use in found.replays} == {"Succeeded"}
        assert found.open_runs == ()
        sent = [message for _, message in target.received if message.event_id == event.event_id]
        assert len(sent) == len(runs)
    # a chunk that was begun and has no outcome: nobody knows
    keys = run_keys(stream, begun.run_id)
    shard = shard_of("e3", 2)
    await stream.objects.create(keys.intent(shard, 0), b"{}")
    # also where the run was given up since
    made.bucket.objects[keys.end] = made.bucket.objects[run_keys(stream, whole.run_id).end]
    found = await explained(made, events[10].event_id)
    assert [(run.run_id, run.shard, run.chunk) for run in found.open_runs] == [(begun.run_id, shard, 0)]


async def test_the_aggregates_that_an_event_went_into(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    stream = made.stream
    day = {"from": after(-86_400).text, "to": after(86_400).text}
    hour = {"from": after(-3_600).text, "to": after(3_600).text}

    async def asked(window: dict[str, str], where: str | None = None) -> str:
        manifest = {
            "streamRef": {"name": "things"},
            "window": window,
            "bucket": "Hour",
            "measures": [{"name": "n", "expression": "count(*)"}],
            "where": where,
        }
        spec = AggregateVersionSpec.model_validate({k: v for k, v in manifest.items() if v is not None})
        definition = definition_of(spec, stream.layout.stream_id)
        answer = await compute(stream, definition, namespace="tests", name="n", as_of=made.clock.now())
        made.clock.advance(1)
        return answer.version

    await ingest(made, arrival("early", after(-7_200)))
    before = await asked(hour)
    await ingest(made, FIRST, AGAIN, OTHER, arrival("x", after(30)))
    holding = [await asked(hour), await asked(day), await asked(day, "event_type = 'reading'")]
    await asked(day, "event_type <> 'reading'")
    await ingest(made, arrival("y", after(40)))
    holding.append(await asked(hour))
    found = await explained(made, FIRST.event_id)
    assert [use.version for use in found.aggregates] == sorted(holding)
    assert before not in holding
    event = found.arrivals[0]
    for use in found.aggregates:
        assert (use.key, use.row, use.fingerprint) == (event.key, event.row, FIRST.fingerprint)
        assert use.bucket == after(-3_600)
        assert use.measures == ("n = count(*)",)
        assert use.as_of is not None
    inputs = [key for key in made.bucket.objects if f"{holding[0]}/inputs" in key]
    stored = made.bucket.objects[inputs[0]]
    made.bucket.objects[inputs[0]] = msgspec.structs.replace(stored, body=stored.body[:-9])
    with pytest.raises(Tampered, match="inputs"):
        await explain(stream, FIRST.event_id)


async def test_what_came_back_from_a_replay_is_told_as_such(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_WRITE)
    await ingest(made, FIRST)
    await ingest(made, msgspec.structs.replace(FIRST, replay_of="run-7"))
    found = await explained(made, FIRST.event_id)
    assert [told.part for told in found.arrivals] == [Part.EVENT, Part.REPLAYED]
    assert found.arrivals[1].replay_of == "run-7"


async def test_a_ledger_that_is_damaged_is_not_passed_over(tmp_path: Path) -> None:
    made = await world(tmp_path)
    stream = made.stream
    await ingest(made, FIRST)
    selector = DuckDBSelector(stream, str)
    window = {"from": after(-3_600).text, "to": after(3_600).text}
    plan = await begin(stream, selector, spec(select={"window": window}))
    await run_replay(stream, plan.run_id, tools(stream, selector, MemorySink(MemoryTarget())), 1)
    assert len((await explained(made, FIRST.event_id)).replays) == 1
    (key,) = [key for key in made.bucket.objects if key.endswith(".outcome.ndjson")]
    stored = made.bucket.objects[key]
    made.bucket.objects[key] = msgspec.structs.replace(stored, body=stored.body[:-20])
    with pytest.raises(Tampered, match=key):
        await explain(stream, FIRST.event_id)


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_events_are_found_by_entity_and_time(tmp_path: Path, deduplication: Deduplication) -> None:
    made = await world(tmp_path, deduplication)
    events = [arrival(f"k{n}", after(60 * (n * 37 % 100)), entity_id=f"e{n % 3}") for n in range(100)]
    for first in range(0, 100, 30):
        await ingest(made, *events[first : first + 30])
    answers = await ingest(made, *events[:20])  # a retry adds no event
    assert len(answers) == 20
    frame = pd.DataFrame(
        {
            "id": [event.event_id for event in events],
            "entity": [event.entity_id for event in events],
            "time": [event.event_time.micros for event in events],
        }
    )
    window = Window(after(600), events[1].event_time)  # which is of e1, and outside
    expected = frame[
        (frame.entity == "e1") & (frame.time >= window.start.micros) & (frame.time < window.end.micros)
    ].sort_values("time")
    found = await find_events(made.stream, "e1", window)
    assert [event.event_id for event in found.events] == list(expected.id)
    assert found.matching == len(expected) > 0
    for event in found.events[:3]:
        told = (await explained(made, event.event_id)).arrivals[0]
        assert (told.key, told.row, told.ingest_time) == (event.key, event.row, event.ingest_time)
    everything = await find_events(made.stream, "e1", limit=4)
    assert everything.matching == len(frame[frame.entity == "e1"])
    assert len(everything.events) == 4
    assert (await find_events(made.stream, "nobody")).matching == 0
    with pytest.raises(ValueError, match="limit"):
        await find_events(made.stream, "e1", limit=0)
