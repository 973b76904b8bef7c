"""The Lambda sink against functions that the emulator runs, with calls that fail on the way; its limits."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from faults.policy import USUAL, Fault, Kind, When, script, sometimes
from faults.proxy import FaultProxy
from pik.aws.clients import AwsClients
from pik.aws.lambda_sink import LambdaSink, payload
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.domain.errors import Denied
from pik.execution.replay.ledger import read_ledger, reconcile_run
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.memory.system import InlineOffload
from pik.planning.replay.batches import TargetOrder, batches
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.records import EndState, Result
from pik.ports.sinks import Batch, Disposition
from reading.streams import world
from replay.functions import Function
from replay.slices import ReplayEvent, event, messages, ran

RUN = "a" * 64
INVOKE = "lambda.Invoke"
RAISE, FAIL = b'{"does": "raise"}', b'{"does": "fail"}'


def batch(*events: ReplayEvent) -> Batch:
    return Batch(RUN, 0, 0, messages(*events, run=RUN), "tests/again")


@pytest.fixture
def function(clients: AwsClients, unique: str, tmp_path: Path) -> Iterator[Function]:
    made = Function(clients, unique, tmp_path / "taken")
    yield made
    made.delete()


@pytest.fixture
def sink(through: AwsClients, io: ThreadOffload, function: Function) -> LambdaSink:
    return LambdaSink(through.sender("lambda"), io, function.name, waits=True, batch_events=10)


async def test_the_function_gets_a_batch_as_of_a_queue(sink: LambdaSink, function: Function) -> None:
    events = [event(n, f"e{n}", data=b'{"n": 1.50, "u": "\\u00e9\xc3\xa9"}') for n in range(3)]
    deliveries = await sink.send(batch(*events))
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    taken = function.taken()
    assert len({record["messageId"] for record in taken}) == 3
    for record, sent in zip(taken, events, strict=True):
        assert record["body"].encode().endswith(b',"data":' + sent.data + b"}")
        attributes = {name: each["stringValue"] for name, each in record["messageAttributes"].items()}
        assert (attributes["pikrun"], attributes["pikreplay"]) == (RUN, "tests/again")
        assert attributes["pikkey"] == record["messageId"]


async def test_events_that_the_function_names_are_told_from_the_rest(
    sink: LambdaSink, function: Function
) -> None:
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b", data=FAIL), event(2, "c")))
    assert [(d.disposition, d.reason) for d in deliveries] == [
        (Disposition.DELIVERED, ""),
        (Disposition.FAILED, "ItemFailure"),
        (Disposition.DELIVERED, ""),
    ]
    assert len(function.taken()) == 2


async def test_a_function_that_fails_is_to_be_tried_with_halves(sink: LambdaSink, function: Function) -> None:
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b", data=RAISE)))
    assert [d.disposition for d in deliveries] == [Disposition.APART] * 2
    [delivery] = await sink.send(batch(event(1, "b", data=RAISE)))
    assert (delivery.disposition, delivery.reason) == (Disposition.FAILED, "FunctionError")
    assert delivery.answer.startswith("Runtime.HandlerError, request ")
    assert "specversion" not in delivery.answer  # the message of the error has the event in it


@pytest.mark.parametrize("action", ["HoldEntity", "Stop"])
async def test_halves_go_down_to_the_event_at_the_pace_and_all_calls_are_told(
    tmp_path: Path, action: str
) -> None:
    client = Raising(b'"bad"')
    sink = LambdaSink(client, InlineOffload(), "f", waits=True, batch_events=8, in_flight=1)  # type: ignore[arg-type]
    made = await world(tmp_path)
    events = [event(n, f"e{n}", data=b'"bad"' if n == 5 else b"{}") for n in range(16)]
    pacer = Pacer(made.clock, EffectivePace(events_per_second=8.0))
    began = made.clock.now().micros
    plan, end = await ran(
        made, events, sink, changes={"pacer": pacer, "settings": ShardSettings()}, onError={"action": action}
    )  # type: ignore[arg-type]
    assert end is not None
    entries = [entry async for _, chunk in read_ledger(made.stream, plan.run_id) for entry in chunk]
    tried = {entry.event_id: entry.attempts for entry in entries}
    assert tried == {one: client.calls[one] for one in tried}
    assert client.calls[events[5].event_id] == 3 + ShardSettings().attempts
    seconds = (made.clock.now().micros - began) / 1_000_000
    assert seconds >= (sum(client.calls.values()) - 8) / 8.0
    failed = [entry.event_id for entry in entries if entry.result is Result.FAILED]
    if action == "HoldEntity":
        assert failed == [events[5].event_id]
        assert (end.totals.sent, client.calls[events[15].event_id]) == (15, 1)
    else:
        assert failed == [one.event_id for one in events[5:8]]
        assert client.calls[events[7].event_id] == 2
        assert not any(one.event_id in client.calls for one in events[8:])


@pytest.mark.parametrize(
    ("answer", "disposition"),
    [
        (b"", Disposition.DELIVERED),
        (b"null", Disposition.DELIVERED),
        (b'"done"', Disposition.DELIVERED),
        (b"{}", Disposition.DELIVERED),
        (b'{"batchItemFailures": []}', Disposition.DELIVERED),
        (b'{"batchItemFailures": null}', Disposition.DELIVERED),
        (b"not JSON", Disposition.DELIVERED),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', Disposition.FAILED),
        (b'{"batchItemFailures": [{"itemIdentifier": "of another batch"}]}', Disposition.FAILED),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', Disposition.FAILED),
        (b'{"batchItemFailures": [{"id": "x"}]}', Disposition.FAILED),
        (b'{"batchItemFailures": ["x"]}', Disposition.FAILED),
        (b'{"batchItemFailures": [{"itemIdentifier": ["x"]}]}', Disposition.FAILED),
        (b'{"batchItemFailures": true}', Disposition.FAILED),
    ],
)
async def test_what_a_function_returns_is_read_as_of_a_queue(answer: bytes, disposition: Disposition) -> None:
    sink = LambdaSink(Returning(answer), InlineOffload(), "f", waits=True, batch_events=2)  # type: ignore[arg-type]
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b")))
    assert [d.disposition for d in deliveries] == [disposition] * 2


async def test_a_function_that_is_not_waited_for_has_the_batch_when_lambda_has_it(
    through: AwsClients, io: ThreadOffload, function: Function, proxy: FaultProxy
) -> None:
    sink = LambdaSink(through.sender("lambda"), io, function.arn, waits=False, batch_events=10)
    assert sink.traits.order is TargetOrder.NONE
    proxy.policy = script({INVOKE: [Fault(Kind.THROTTLE, retry_after=7)]})
    [delivery] = await sink.send(batch(event(0)))
    assert (delivery.disposition, delivery.reason, delivery.retry_after) == (
        Disposition.RETRYABLE,
        "Throttled",
        7.0,
    )
    deliveries = await sink.send(batch(event(0), event(1)))
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    async with asyncio.timeout(30):
        while len(function.taken()) < 2:  # the emulator calls it on a thread of its own
            await io(int)


async def test_what_is_not_now_is_told_so(
    sink: LambdaSink, function: Function, proxy: FaultProxy, through: AwsClients, io: ThreadOffload
) -> None:
    function.throttle(always=True)
    [delivery] = await sink.send(batch(event(0)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "Throttled")
    function.throttle(always=False)
    away = LambdaSink(through.sender("lambda"), io, f"{function.name}-no", waits=True, batch_events=10)
    [delivery] = await away.send(batch(event(0)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "FunctionNotFound")
    proxy.numbers.clear()
    busy = Fault(Kind.CODE, code="ResourceConflictException", status=409)
    faults = [Fault(Kind.ERROR), Fault(Kind.RESET, When.AFTER), Fault(Kind.TRUNCATE), busy]
    proxy.policy = script({INVOKE: faults})
    for reason in ("Unavailable", "Unavailable", "Unavailable", "FunctionNotReady"):
        [delivery] = await sink.send(batch(event(0)))
        assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, reason)
    assert proxy.numbers[INVOKE] == 4
    assert len(function.taken()) == 2  # of answers that were lost
    proxy.policy = lambda _: Fault(Kind.CODE, code="AccessDeniedException", status=403)
    with pytest.raises(Denied):
        await sink.send(batch(event(0)))


@pytest.mark.parametrize(
    "code",
    [
        "SnapStartNotReadyException",
        "EFSMountConnectivityException",
        "EFSMountTimeoutException",
        "EFSIOException",
    ],
)
async def test_a_function_that_cannot_be_started_yet_is_tried_again(code: str) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 408}}
    client = Failing(ClientError(answer, "Invoke"))  # type: ignore[arg-type]
    sink = LambdaSink(client, InlineOffload(), "f", waits=True, batch_events=2)  # type: ignore[arg-type]
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b")))
    assert {(d.disposition, d.reason) for d in deliveries} == {(Disposition.RETRYABLE, "FunctionNotReady")}


async def test_a_call_that_is_refused_as_a_whole_is_to_be_tried_with_halves(
    sink: LambdaSink, function: Function, proxy: FaultProxy
) -> None:
    no = Fault(Kind.CODE, code="RequestTooLargeException", status=413)
    proxy.policy = script({INVOKE: [no, no]})
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b")))
    assert [d.disposition for d in deliveries] == [Disposition.APART] * 2
    [delivery] = await sink.send(batch(event(0, "a")))
    assert (delivery.disposition, delivery.reason) == (Disposition.REFUSED, "RequestTooLargeException")


async def test_a_run_through_failures_keeps_order_and_buries_what_no_try_brought(
    sink: LambdaSink,
    function: Function,
    proxy: FaultProxy,
    clients: AwsClients,
    io: ThreadOffload,
    tmp_path: Path,
    unique: str,
) -> None:
    proxy.policy = sometimes(6, 0.4, USUAL)
    sqs = clients.client("sqs")
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    poison = {9: RAISE, 20: FAIL}
    events = [event(n, f"e{n % 3}", data=poison.get(n, b"{}")) for n in range(40)]
    made = await world(tmp_path)
    plan, end = await ran(
        made,
        events,
        sink,
        changes={"dead_letter": SQSSink(sqs, io, url)},
        target={"type": "Lambda", "lambda": {"functionName": function.name}},
        onError={"action": "DeadLetter", "deadLetter": {"queueURL": url}},
    )
    assert end is not None
    assert (end.state, end.totals.sent, end.totals.failed) == (EndState.SUCCEEDED, 38, 2)
    assert (await reconcile_run(made.stream, plan)).whole
    assert proxy.failed > 5
    first: dict[str, list[str]] = defaultdict(list)
    for record in function.taken():
        body = orjson.loads(record["body"])
        if body["id"] not in first[body["subject"]]:
            first[body["subject"]].append(body["id"])
    assert sum(map(len, first.values())) == 38
    assert all(ids == sorted(ids) for ids in first.values())
    entries = [entry async for _, chunk in read_ledger(made.stream, plan.run_id) for entry in chunk]
    buried = [entry for entry in entries if entry.dead_lettered]
    assert [entry.event_id for entry in buried] == [events[9].event_id, events[20].event_id]
    assert [entry.reason for entry in buried] == ["FunctionError", "ItemFailure"]
    assert all(entry.attempts >= 6 for entry in buried)
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 2


class Returning:
    """A client whose function returns this."""

    def __init__(self, answer: bytes = b"{}") -> None:
        self._answer = answer
        self.sizes: list[tuple[int, int]] = []

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: N803
        self.sizes.append((len(orjson.loads(Payload)["Records"]), len(Payload)))
        return {"Payload": Body(self._answer), "ResponseMetadata": {"RequestId": "r"}}


class Raising:
    """A client whose function fails where this is in an event. `calls`: by event, how many it was in."""

    def __init__(self, poison: bytes) -> None:
        self._poison = poison
        self.calls: Counter[str] = Counter()

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: N803
        bodies = [record["body"] for record in orjson.loads(Payload)["Records"]]
        self.calls.update(orjson.loads(body)["id"] for body in bodies)
        metadata = {"ResponseMetadata": {"RequestId": "r"}}
        if any(self._poison.decode() in body for body in bodies):
            return {"Payload": Body(b'{"errorType": "E"}'), "FunctionError": "Unhandled", **metadata}
        return {"Payload": Body(b"{}"), **metadata}


class Failing:
    """A client whose calls all fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def invoke(self, **_: Any) -> Any:
        raise self._error


class Body:
    def __init__(self, text: bytes) -> None:
        self._text = text

    def read(self) -> bytes:
        return self._text


@given(
    st.lists(st.sampled_from([0, 1_000, 30_000, 60_000, 900_000]), min_size=1, max_size=120),
    st.sampled_from([1, 10, 100]),
    st.booleans(),
)
async def test_calls_keep_within_the_quotas_however_large_the_events_are(
    sizes: list[int], most: int, waits: bool
) -> None:
    """Of data that is all escaped."""
    events = [event(n, data=b'["' + b'\\"' * (size // 2) + b'"]') for n, size in enumerate(sizes)]
    made = messages(*events)
    client: Any = Returning()
    sink = LambdaSink(client, InlineOffload(), "f", waits=waits, batch_events=most)
    lengths = [len(one.body) for one in made]
    for call in batches(range(len(sizes)), lengths, sink.traits.batch_events, sink.traits.batch_bytes):
        await sink.send(Batch(RUN, 0, 0, made.at(call), f"{'n' * 63}/{'j' * 253}"))
    assert sum(count for count, _ in client.sizes) == len(sizes)
    for count, size in client.sizes:
        assert count <= most
        assert size <= (6_000_000 if waits else 262_144) or count == 1


def test_a_payload_is_json_whatever_is_in_the_events() -> None:
    made = batch(event(0, 'e"\\\n\u2028', data=b'{"a": "\\u0000\\"", "b": [\n1]}'))
    [record] = orjson.loads(payload(made))["Records"]
    assert record["body"].encode() == made.messages.each[0].body
