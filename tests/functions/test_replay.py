"""The function `replay`, run by the emulator from its package: the kit's call, and what it does not do
quietly."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

from faults.policy import sometimes
from faults.proxy import faulty
from functions.deployed import STRANGERS, Packages, Place, place_at
from functions.examples import examples, exchanges, shows
from functions.requests import EVENT, EVENTS
from gateway.asgi import call as post
from pik.api.capture_stream import ReplayPolicy
from pik.api.conditions import Reason
from pik.api.replay_job import ReplayJob, TimeField
from pik.api.targets import TargetType
from pik.api.validation import admit
from pik.execution.replay.ledger import read_ledger
from pik.execution.replay.occupancy import occupy
from pik.execution.replay.runs import read_end, read_record
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.functions.health import CHECK
from pik.functions.ingest import IngestFunction, IngestTask
from pik.functions.replay import TASK, ReplayTask
from pik.functions.tasks import decode_task, encode_task
from pik.planning.replay.occupancy import Occupant
from pik.planning.replay.records import EndState, Intent
from pik.planning.replay.spec import TargetAddress, replay_spec, run_id

pytestmark = pytest.mark.emulator

DAY = datetime(2013, 7, 10, tzinfo=UTC)


def at(minute: int) -> str:
    return (DAY + timedelta(minutes=minute)).isoformat()


def call(first: int, last: int, **more: Any) -> dict[str, Any]:
    return {"entity_id": "order-1", "start_time": at(first), "end_time": at(last), **more}


class Deployed(NamedTuple):
    place: Place
    task: StreamTask
    queue: str
    replay: str  # a function without bounds that matter here
    bounded: str  # one that takes 40 events, 5 a second, 8 seconds

    @property
    def stream(self) -> Stream:
        return self.place.opened(self.task)


@pytest.fixture(scope="module")
def there(emulator: str, packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with place_at(emulator, tmp_path_factory.mktemp("replay")) as place:
        stream = place.stream("replayed")
        capture(place, stream)
        queue, _ = place.queue("to")
        package = packages("replay")
        slow = ReplayPolicy(maxEventsPerSecond=5)
        replay = place.create(package, {TASK: encode_task(ReplayTask(stream, queue))}, "replay")
        few = ReplayTask(stream, queue, policy=slow, most_events=40)
        bounded = place.create(package, {TASK: encode_task(few)}, "bounded", timeout=8)
        yield Deployed(place, stream, queue, replay, bounded)


def capture(place: Place, stream: StreamTask) -> None:
    """An event a minute of `order-1` for an hour, the first ten twice, and some of another."""
    gateway = IngestFunction(IngestTask(stream), place.access, place.scratch).gateway
    events = [{**EVENT, "event_time": at(n), "idempotency_key": f"k{n}", "payload": n} for n in range(60)]
    others = [{**EVENT, "entity_id": "order-2", "idempotency_key": f"o{n}"} for n in range(5)]
    for batch in ([*events, *others], events[:10]):
        assert asyncio.run(post(gateway, EVENTS, json.dumps(batch).encode())).status == 200


def test_the_kits_call(there: Deployed) -> None:
    place = there.place
    assert set(place.invoke(there.replay, CHECK)["strangers"]) <= STRANGERS
    answer = place.invoke(there.replay, call(0, 30))
    assert (answer["scanned"], answer["sent"], answer["stale"]) == (30, 30, 1)
    sent = [json.loads(body) for body in place.received(there.queue, 30)]
    assert sorted(event["data"] for event in sent) == list(range(30))
    assert {event["pikrun"] for event in sent} == {answer["run_id"]}
    record = asyncio.run(read_record(there.stream, answer["run_id"]))
    assert record is not None
    assert record.plan_hash == answer["plan"]
    assert record.run_key == answer["run_key"]
    everything = place.invoke(there.replay, call(0, 30, include_duplicates=True, limit=15))
    assert (everything["scanned"], everything["sent"]) == (15, 15)
    repeats = [json.loads(body)["data"] for body in place.received(there.queue, 15)]
    assert sorted(repeats) == [*sorted([*range(7)] * 2), 7]
    assert place.invoke(there.replay, call(60, 90))["scanned"] == 0


def test_a_run_key_is_sent_once(there: Deployed) -> None:
    place = there.place
    shown = place.invoke(there.replay, call(0, 12, run_key="again", dry_run=True))
    assert (shown["scanned"], shown["sent"]) == (12, 0)
    assert asyncio.run(read_record(there.stream, shown["run_id"])) is None
    other = place.invoke(there.replay, call(0, 12, run_key="again", plan="0" * 64))
    assert other["error"]["reason"] == "NoSuchPlan"
    first = place.invoke(there.replay, call(0, 12, run_key="again", plan=shown["plan"]))
    assert (first["sent"], first["plan"], first["run_id"]) == (12, shown["plan"], shown["run_id"])
    assert place.invoke(there.replay, call(0, 12, run_key="again")) == first
    assert len(place.received(there.queue, 12)) == 12
    assert place.waiting(there.queue) == 0
    another = place.invoke(there.replay, call(0, 13, run_key="again"))
    assert another["error"]["reason"] == Reason.RUN_KEY_CONFLICT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"entity_id": ""}, "entity_id"),
        ({"entity_id": None}, "entity_id"),
        ({"start_time": "2013-07-10T00:00:00"}, "start_time"),
        ({"end_time": at(0)}, "start_time must be before end_time"),
        ({"end_time": "2013-07-10T00:00:00.1234567Z"}, "end_time"),
        ({"include_duplicates": 1}, "include_duplicates"),
        ({"entities": []}, "entities"),
        ({"run_key": "-"}, "run_key"),
        ({"plan": "0" * 64}, "run_key"),
    ],
)
def test_what_is_no_request_is_told(there: Deployed, changes: dict[str, Any], said: str) -> None:
    answer = there.place.invoke(there.replay, {**call(0, 5), **changes})
    assert answer["error"]["reason"] == "InvalidRequest"
    assert said in answer["error"]["message"]
    assert answer["sent"] == 0


def test_a_slice_too_large_names_the_job_to_apply(there: Deployed) -> None:
    place = there.place
    answer = place.invoke(there.bounded, call(0, 60, run_key="all"))
    assert (answer["scanned"], answer["sent"]) == (60, 0)
    assert answer["error"]["reason"] == "SliceTooLarge"
    manifest = yaml.safe_load(answer["replay_job"])
    assert (
        f"ReplayJob {manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
        in (answer["error"]["message"])
    )
    job = admit(manifest).resource
    assert isinstance(job, ReplayJob)
    # what the job would send, under its identity, is what a function without the bound does
    sent = place.invoke(there.replay, call(0, 60, run_key="all"))
    assert sent["sent"] == 60
    assert len(place.received(there.queue, 60)) == 60
    meta = job.metadata
    assert run_id(there.task.stream_id, meta.namespace, meta.name, job.spec.runKey) == sent["run_id"]
    record = asyncio.run(read_record(there.stream, sent["run_id"]))
    assert record is not None
    assert record.spec_digest == replay_spec(job.spec, meta.namespace).digest


def test_a_pace_that_does_not_fit_is_too_large_too(there: Deployed) -> None:
    answer = there.place.invoke(there.bounded, call(0, 60, limit=30, run_key="slowly"))
    assert answer["error"]["reason"] == "SliceTooLarge"
    assert "pace" in answer["error"]["message"]


def test_the_page_is_true(there: Deployed) -> None:
    asked = exchanges("replay")
    assert len(asked) == 4
    for event, shown in asked:
        function = there.bounded if event.get("run_key") == "incident-8" else there.replay
        answer = there.place.invoke(function, event)
        assert shows(shown, answer), answer
    there.place.received(there.queue, 20)
    task = decode_task(json.dumps(examples("replay")[-1]), ReplayTask)
    assert task.policy.maxEventsPerSecond == 500


def test_a_try_that_fails_is_gone_on_with_by_the_next(there: Deployed) -> None:
    """As AWS tries an asynchronous invocation again, with the same event. There it has the same request id
    too, which names the run by default; the emulator gives each try another, so the event names it here."""
    place, stream = there.place, there.stream
    place.invoke(there.bounded, CHECK)
    before = set(place.keys(f"{there.task.prefix}/runs/"))
    place.functions.invoke(
        FunctionName=there.bounded,
        InvocationType="Event",
        Payload=json.dumps(call(0, 60, limit=18, run_key="tried")),
    )
    [outcome] = until(lambda: [k for k in new(there, before) if k.endswith("00000000.outcome.ndjson")], 1)
    place.sqs.delete_queue(QueueUrl=there.queue)
    taken = int(json.loads(place.body(outcome).splitlines()[0])["count"])
    assert 0 < taken < 18

    def holders() -> list[str]:
        intents = [place.body(key) for key in new(there, before) if ".intent" in key]
        return sorted({msgspec.json.decode(body, type=Intent).holder for body in intents})

    assert len({holder.split("/")[1] for holder in until(holders, 2)}) == 2  # two tries
    assert place.queue("to")[0] == there.queue
    [end] = until(lambda: [k for k in new(there, before) if k.endswith("/end.json") and "shards" not in k], 1)
    run = end.split("/")[-2]
    ended, record = asyncio.run(read_end(stream, run)), asyncio.run(read_record(stream, run))
    assert ended is not None
    assert record is not None
    assert (ended.state, ended.totals.sent) == (EndState.SUCCEEDED, 18)
    assert record.run_key == "tried"
    rest = place.received(there.queue, 18 - taken)
    assert len(rest) == 18 - taken
    assert place.waiting(there.queue) == 0


def test_a_queue_that_another_run_sends_to_is_waited_for(there: Deployed) -> None:
    place, stream = there.place, there.stream
    target = TargetAddress(TargetType.SQS, there.queue).place
    now = stream.clock.now().text
    other = Occupant("f" * 64, "shop", "backfill", "1", TimeField.EVENT_TIME, at(0), at(60), now)
    place.s3.delete_object(Bucket=place.name, Key=stream.layout.target(target))
    assert asyncio.run(occupy(stream, target, other, lambda *_: True)) is None
    told, error = place.tried(there.bounded, call(0, 5, run_key="later"))
    assert error is not None
    assert "shop/backfill" in told["errorMessage"]
    run = yaml.safe_load(told["errorMessage"].partition("ReplayJob:")[2])
    assert run["spec"]["mode"] == "Run"
    assert place.waiting(there.queue) == 0
    place.s3.delete_object(Bucket=place.name, Key=stream.layout.target(target))
    assert place.invoke(there.bounded, call(0, 5, run_key="later"))["sent"] == 5


def test_through_faults_everything_comes_and_what_comes_twice_is_in_the_ledger(
    there: Deployed, packages: Packages, emulator: str
) -> None:
    place = there.place
    queue, _ = place.queue("faults")
    with faulty(emulator, sometimes(seed=6, share=0.3)) as proxy:
        variables = {TASK: encode_task(ReplayTask(there.task, queue)), "AWS_ENDPOINT_URL": proxy.endpoint}
        name = place.create(packages("replay"), variables, "faults")
        tries = 0
        told, error = None, "none yet"
        while error is not None:
            tries += 1
            assert tries < 20, told
            told, error = place.tried(name, call(0, 60, run_key="faults"))
        assert proxy.failed > 5
    assert (told["scanned"], told["sent"]) == (60, 60)
    sent = Counter(json.loads(body)["data"] for body in place.received(queue, 60))
    assert sorted(sent) == list(range(60))

    async def doubtful() -> set[str]:
        found = set()
        async for head, entries in read_ledger(there.stream, told["run_id"]):
            found |= {entry.event_id for entry in entries if head.in_doubt or entry.attempts > 1}
        return found

    assert sum(count > 1 for count in sent.values()) <= len(asyncio.run(doubtful()))


def new(there: Deployed, before: set[str]) -> list[str]:
    return [key for key in there.place.keys(f"{there.task.prefix}/runs/") if key not in before]


def until(look: Any, count: int, seconds: float = 60) -> list[str]:
    """What is there once there are so many."""
    end = monotonic() + seconds
    while len(found := look()) < count:
        assert monotonic() < end, found
    return found
