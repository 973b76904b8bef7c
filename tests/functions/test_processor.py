"""The function `processor`, run by the emulator from its package and fed by its mapping: what replayed events
touch is computed from raw, whatever comes twice or in another order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from time import monotonic
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from faults.policy import sometimes
from faults.proxy import faulty
from functions.deployed import STRANGERS, Packages, Place, place_at
from functions.examples import examples, exchanges, shows
from functions.requests import EVENT, EVENTS
from gateway.asgi import call as post
from pik.api.aggregate_version import AggregateVersionSpec, TimeBucket
from pik.domain.instants import parse_instant
from pik.domain.windows import Window
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import VersionRecord, read_answer, rows_key, versions
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.functions.cells import over
from pik.functions.health import CHECK
from pik.functions.ingest import IngestFunction, IngestTask
from pik.functions.invocations import Invocation
from pik.functions.processor import TASK, ProcessorTask
from pik.functions.replay import ReplayFunction, ReplayTask
from pik.functions.tasks import decode_task, encode_task
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import Measure, definition_of

pytestmark = pytest.mark.emulator

DAY = datetime(2013, 7, 10, tzinfo=UTC)
MEASURES = (Measure("orders", "count(*)"), Measure("revenue", "sum(payload.amount)"))


def at(minute: int) -> str:
    return (DAY + timedelta(minutes=minute)).isoformat()


def order(minute: int, **more: Any) -> dict[str, Any]:
    payload = {"amount": minute, "shop": "ab"[minute % 2]}
    return {**EVENT, "event_time": at(minute), "idempotency_key": f"k{minute}", "payload": payload, **more}


class Deployed(NamedTuple):
    place: Place
    task: StreamTask
    processor: str
    queue: str  # that feeds it
    dead: str
    aside: str  # a queue that nobody reads

    @property
    def stream(self) -> Stream:
        return self.place.opened(self.task)

    def capture(self, *events: dict[str, Any]) -> None:
        gateway = IngestFunction(IngestTask(self.task), self.place.access, self.place.scratch).gateway
        assert asyncio.run(post(gateway, EVENTS, json.dumps(events).encode())).status == 200

    def replay(self, first: int, last: int, queue: str) -> dict[str, Any]:
        function = ReplayFunction(ReplayTask(self.task, queue), self.place.access, self.place.scratch)
        event = {"entity_id": "order-1", "start_time": at(first), "end_time": at(last)}
        answer = function(event, Invocation(f"r{monotonic()}", lambda: 60.0))
        function.close()
        return answer

    def versions(self) -> list[VersionRecord]:
        return asyncio.run(versions(self.stream))

    def rows(self, record: VersionRecord) -> dict[str, tuple[int, int]]:
        body = self.place.body(rows_key(self.stream, record.version))
        found = pq.read_table(BytesIO(body)).to_pylist()
        return {row["shop"]: (row["orders"], int(row["revenue"])) for row in found}


@pytest.fixture(scope="module")
def there(emulator: str, packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with place_at(emulator, tmp_path_factory.mktemp("processor")) as place:
        stream = place.stream("processed")
        task = ProcessorTask(stream, "shops", TimeBucket.HOUR, MEASURES, group_by=("payload.shop",))
        name = place.create(packages("processor"), {TASK: encode_task(task)}, "processor")
        assert set(place.invoke(name, CHECK)["strangers"]) <= STRANGERS
        dead, arn = place.queue("dead")
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
        queue, arn = place.queue("replayed", VisibilityTimeout="15", RedrivePolicy=redrive)
        place.functions.create_event_source_mapping(
            EventSourceArn=arn,
            FunctionName=name,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            BatchSize=10,
            ScalingConfig={"MaximumConcurrency": 2},  # each instance unpacks a package of its own here
        )
        made = Deployed(place, stream, name, queue, dead, place.queue("aside")[0])
        made.capture(*(order(minute) for minute in range(0, 180, 2)), *(order(n) for n in range(1, 180, 8)))
        yield made


def test_what_is_replayed_is_computed_from_raw(there: Deployed) -> None:
    place = there.place
    wrong = ["[1,", json.dumps(EVENT), json.dumps({**sent(there), "pikstream": "f" * 32})]
    wrong += [json.dumps({**sent(there), "pikrun": "0" * 64}), json.dumps({**sent(there), "time": "noon"})]
    for body in wrong:
        place.sqs.send_message(QueueUrl=there.queue, MessageBody=body)
    run = there.replay(0, 180, there.queue)
    assert run["sent"] == 90 + 23
    assert sorted(place.received(there.dead, len(wrong))) == sorted(wrong)
    place.until(lambda: not place.waiting(there.queue))
    found = {record.definition.window.from_: record for record in there.versions()}
    assert sorted(found) == [f"2013-07-10T0{hour}:00:00.000000Z" for hour in range(3)]
    minutes = [*range(0, 180, 2), *range(1, 180, 8)]
    for hour, record in enumerate(found[key] for key in sorted(found)):
        of_hour = [minute for minute in minutes if minute // 60 == hour]
        orders = Counter("ab"[minute % 2] for minute in of_hour)
        revenue = {shop: sum(m for m in of_hour if "ab"[m % 2] == shop) for shop in orders}
        assert there.rows(record) == {shop: (orders[shop], revenue[shop]) for shop in orders}
        assert asyncio.run(read_answer(there.stream, record.version)).as_of.as_of == run["as_of"]
        # an AggregateVersion of this window is the same version
        assert record.version == asked(there, record)


def test_redelivery_order_and_duplicates_change_nothing(there: Deployed) -> None:
    place = there.place
    run = there.replay(0, 120, there.aside)
    messages = place.received(there.aside, run["sent"])
    batch(there, messages)
    kept = place.keys(f"{there.task.prefix}/aggregates/")
    random.Random(6).shuffle(messages)
    assert batch(there, [*messages, *messages[:40]]) == []
    assert place.keys(f"{there.task.prefix}/aggregates/") == kept
    assert len(there.versions()) == 3


def test_what_comes_later_makes_a_later_version_of_its_bucket_alone(there: Deployed) -> None:
    before = {record.version for record in there.versions()}
    there.capture(order(61, idempotency_key="late", payload={"amount": 1000, "shop": "b"}))
    # the replay before knew nothing of it, and says so however late it is delivered
    there.replay(0, 180, there.aside)
    messages = there.place.received(there.aside, 114)
    assert batch(there, messages) == []
    [new] = [record for record in there.versions() if record.version not in before]
    assert new.definition.window.from_ == "2013-07-10T01:00:00.000000Z"
    assert len(there.versions()) == 4


def test_a_bucket_that_cannot_be_computed_is_reported_alone(there: Deployed) -> None:
    """And so is its message, which is of no use before somebody has looked."""
    there.capture(order(200, payload={"amount": "much", "shop": "a"}), order(250))
    there.replay(190, 260, there.aside)
    bad, good = sorted(there.place.received(there.aside, 2), key=lambda body: json.loads(body)["time"])
    assert batch(there, [good, bad, "{}"]) == [1, 2]
    assert any(r.definition.window.from_ == "2013-07-10T04:00:00.000000Z" for r in there.versions())


def test_through_faults_it_is_the_same_version(there: Deployed, packages: Packages, emulator: str) -> None:
    there.capture(*(order(minute) for minute in range(600, 720, 3)))
    run = there.replay(600, 720, there.aside)
    waiting = there.place.received(there.aside, run["sent"])
    tries = 0
    with faulty(emulator, sometimes(seed=6, share=0.3)) as proxy:
        task = ProcessorTask(there.task, "faults", TimeBucket.HOUR, MEASURES)
        variables = {TASK: encode_task(task), "AWS_ENDPOINT_URL": proxy.endpoint}
        name = there.place.create(packages("processor"), variables, "faults")
        while waiting:
            tries += 1
            assert tries < 20
            waiting = [waiting[n] for n in batch(there, waiting, name)]
        assert proxy.failed > 3
    found = {record.version for record in there.versions() if not record.definition.group_by}
    stream, as_of = there.stream, parse_instant(run["as_of"])
    windows = [Window(parse_instant(at(hour * 60)), parse_instant(at(hour * 60 + 60))) for hour in (10, 11)]
    for window in windows:
        definition = over(task.definition, window)
        wanted = asyncio.run(compute(stream, definition, namespace="default", name="x", as_of=as_of))
        assert wanted.version in found
    assert len(found) == 2


def test_what_is_no_batch_is_an_error(there: Deployed) -> None:
    told, error = there.place.tried(there.processor, {"entity_id": "order-1"})
    assert error is not None
    assert "not a batch" in told["errorMessage"]


def test_the_page_is_true(there: Deployed) -> None:
    message, *_, task = examples("processor")
    assert shows(message, sent(there))
    [(asked, told)] = exchanges("processor")
    assert there.place.invoke(there.processor, asked) == told
    shown = decode_task(json.dumps(task), ProcessorTask)
    assert query_of(shown.definition).columns


def sent(there: Deployed) -> dict[str, Any]:
    """A message as a replay sends it."""
    there.replay(0, 1, there.aside)
    [body] = there.place.received(there.aside, 1)
    message: dict[str, Any] = json.loads(body)
    return message


def batch(there: Deployed, bodies: list[str], function: str | None = None) -> list[int]:
    """Hands these over as the mapping does; which come again."""
    records = [{"messageId": str(n), "eventSource": "aws:sqs", "body": body} for n, body in enumerate(bodies)]
    answer = there.place.invoke(function or there.processor, {"Records": records})
    return sorted(int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"])


def asked(there: Deployed, record: VersionRecord) -> str:
    """The version that a manifest of the same window gets."""
    window = record.definition.window
    spec = AggregateVersionSpec.model_validate(
        {
            "streamRef": {"name": "s"},
            "window": {"from": window.from_, "to": window.to},
            "bucket": "Hour",
            "groupBy": ["payload.shop"],
            "measures": [{"name": each.name, "expression": each.expression} for each in MEASURES],
        }
    )
    definition = definition_of(spec, there.task.stream_id)
    return asyncio.run(compute(there.stream, definition, namespace="default", name="asked")).version
