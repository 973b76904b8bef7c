"""The EventBridge sink against the emulator's buses, with calls that fail on the way, and by its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.policy import USUAL, Fault, Kind, When, script, sometimes
from faults.proxy import FaultProxy
from pik.aws.clients import AwsClients
from pik.aws.event_bridge_sink import EventBridgeSink
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.domain.decode import decode_event
from pik.domain.errors import Denied
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.replay.ledger import reconcile_run
from pik.memory.system import InlineOffload
from pik.planning.replay.batches import batches
from pik.planning.replay.records import EndState
from pik.ports.sinks import Batch, Disposition
from reading.streams import world
from replay.slices import ReplayEvent, event, messages, ran

RUN = "a" * 64
PUT = "events.PutEvents"


def batch(*events: ReplayEvent) -> Batch:
    return Batch(RUN, 0, 0, messages(*events, run=RUN), "tests/again")


class Bus:
    """An event bus, of which everything goes to a queue."""

    def __init__(self, clients: AwsClients, name: str) -> None:
        events: Any = clients.sender("events")
        self._sqs: Any = clients.client("sqs")
        self.name = name
        self.arn: str = events.create_event_bus(Name=name)["EventBusArn"]
        self._url = self._sqs.create_queue(QueueName=f"{name}-rule")["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        target = {"Id": "1", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_rule(Name=name, EventBusName=name, EventPattern='{"account": [{"exists": true}]}')
        events.put_targets(Rule=name, EventBusName=name, Targets=[target])

    def arrived(self) -> list[dict[str, Any]]:
        """Envelopes since the last time."""
        found = []
        while got := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for each in got:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=each["ReceiptHandle"])
                found.append(orjson.loads(each["Body"]))
        return found


@pytest.fixture
def bus(clients: AwsClients, unique: str) -> Bus:
    return Bus(clients, unique)


@pytest.fixture
def sink(through: AwsClients, io: ThreadOffload, bus: Bus) -> EventBridgeSink:
    return EventBridgeSink(through.sender("events"), io, bus.name)


async def test_the_detail_is_the_cloudevent_with_run_and_replay(sink: EventBridgeSink, bus: Bus) -> None:
    deliveries = await sink.send(batch(*(event(n, data=b'{"n": 1.50}') for n in range(3))))
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    found = bus.arrived()
    assert len({each["detail"]["pikkey"] for each in found}) == 3
    for each in found:
        assert (each["source"], each["detail-type"]) == ("sensors", "reading")
        assert (each["detail"]["pikrun"], each["detail"]["pikreplay"]) == (RUN, "tests/again")
        taken = decode_event(orjson.dumps(each["detail"]), IntakeRules())  # captured again it is what it was
        assert isinstance(taken, Decoded)
        assert (taken.arrival.entity_id, taken.arrival.attributes) == ("e1", None)
        assert taken.claim is not None


async def test_source_and_detail_type_can_be_the_replays_own(
    through: AwsClients, io: ThreadOffload, bus: Bus
) -> None:
    own = EventBridgeSink(through.sender("events"), io, bus.arn, source="pik.replay", detail_type="Again")
    [delivery] = await own.send(batch(event(1)))
    assert delivery.disposition is Disposition.DELIVERED
    [found] = bus.arrived()
    assert (found["source"], found["detail-type"]) == ("pik.replay", "Again")
    assert (found["detail"]["source"], found["detail"]["type"]) == ("sensors", "reading")


async def test_a_source_of_aws_is_refused_by_itself(sink: EventBridgeSink, bus: Bus) -> None:
    foreign = event(1)._replace(source="aws.s3")
    first, second = await sink.send(batch(event(0), foreign))
    assert first.disposition is Disposition.DELIVERED
    assert (second.disposition, second.reason) == (Disposition.REFUSED, "NotAuthorizedForSourceException")
    assert len(bus.arrived()) == 1


@pytest.mark.parametrize(
    ("fault", "reason", "landed"),
    [
        (Fault(Kind.THROTTLE), "Throttled", 0),
        (Fault(Kind.ERROR), "Unavailable", 0),
        (Fault(Kind.RESET, When.AFTER), "Unavailable", 1),
        (Fault(Kind.TRUNCATE), "Unavailable", 1),
        (Fault(Kind.PART, entries=[0]), "Unavailable", 0),
        (Fault(Kind.PART, entries=[0], code="ThrottlingException"), "Throttled", 0),
        (Fault(Kind.PART, entries=[0], code="ResourceNotFoundException"), "EventBusNotFound", 0),
        (Fault(Kind.CODE, code="ResourceNotFoundException"), "EventBusNotFound", 0),
    ],
    ids=str,
)
async def test_what_may_be_taken_later_is_told_so(
    sink: EventBridgeSink, proxy: FaultProxy, bus: Bus, fault: Fault, reason: str, landed: int
) -> None:
    proxy.policy = script({PUT: [fault]})
    [delivery] = await sink.send(batch(event(1)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, reason)
    assert len(bus.arrived()) == landed
    assert proxy.numbers[PUT] == 1


async def test_what_the_credentials_may_not_is_no_answer_of_the_bus(
    sink: EventBridgeSink, proxy: FaultProxy
) -> None:
    proxy.policy = lambda _: Fault(Kind.CODE, code="AccessDeniedException")
    with pytest.raises(Denied):
        await sink.send(batch(event(1)))


async def test_what_may_be_refused_goes_alone_and_a_whole_call_that_is_refused_one_by_one(
    sink: EventBridgeSink, proxy: FaultProxy, bus: Bus
) -> None:
    no = Fault(Kind.CODE, code="ValidationException")
    large, long = event(1, data=b'"' + b"x" * 262_144 + b'"'), event(2)._replace(event_type="t" * 129)
    proxy.policy = script({PUT: [no, no]})
    deliveries = await sink.send(batch(event(0), large, long))
    assert [d.reason for d in deliveries] == ["", "ValidationException", "ValidationException"]
    proxy.policy = script({PUT: [None, None, None, no, None, no]})
    deliveries = await sink.send(batch(event(3), event(4)))
    assert [d.disposition for d in deliveries] == [Disposition.DELIVERED, Disposition.REFUSED]
    assert len(bus.arrived()) == 2


async def test_a_run_through_failures_brings_everything_and_buries_what_is_refused(
    sink: EventBridgeSink,
    proxy: FaultProxy,
    clients: AwsClients,
    io: ThreadOffload,
    bus: Bus,
    tmp_path: Path,
    unique: str,
) -> None:
    proxy.policy = sometimes(5, 0.6, USUAL)
    sqs = clients.client("sqs")
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    events = [event(n, f"e{n % 3}") for n in range(60)]
    events[7] = events[7]._replace(source="aws.ours")
    made = await world(tmp_path)
    plan, end = await ran(
        made,
        events,
        sink,
        changes={"dead_letter": SQSSink(sqs, io, url)},
        target={"type": "EventBridge", "eventBridge": {"eventBusName": bus.name}},
        onError={"action": "DeadLetter", "deadLetter": {"queueURL": url}},
    )
    assert end is not None
    assert (end.state, end.totals.sent, end.totals.failed) == (EndState.SUCCEEDED, 59, 1)
    assert "no order" in end.message
    assert (await reconcile_run(made.stream, plan)).whole
    assert proxy.failed > 5
    found = bus.arrived()
    assert {each["detail"]["id"] for each in found} == {e.event_id for e in events} - {events[7].event_id}
    assert {each["detail"]["pikreplay"] for each in found} == {"tests/again"}
    [buried] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert orjson.loads(buried["Body"])["id"] == events[7].event_id


class Counting:
    """A client that keeps the sizes of its calls, as EventBridge counts them."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803
        texts = [(each["Source"], each["DetailType"], each["Detail"]) for each in Entries]
        self.calls.append([14 + sum(len(text.encode()) for text in each) for each in texts])
        return {"Entries": [{"EventId": "1"} for _ in Entries], "ResponseMetadata": {}}


@given(
    st.lists(st.sampled_from([10, 3_000, 20_000, 100_000, 261_000]), min_size=1, max_size=40),
    st.sampled_from([1, 128, 512]),
)
async def test_calls_keep_within_the_quotas_however_large_the_events_are(sizes: list[int], name: int) -> None:
    names = {"source": "s" * name, "event_type": "t" * min(name, 128)}
    made = messages(*(event(n, data=b"1" * size)._replace(**names) for n, size in enumerate(sizes)))
    client: Any = Counting()
    sink = EventBridgeSink(client, InlineOffload(), "b")
    lengths = [len(one.body) for one in made]
    for call in batches(range(len(sizes)), lengths, sink.traits.batch_events, sink.traits.batch_bytes):
        await sink.send(Batch(RUN, 0, 0, made.at(call), f"{'n' * 63}/{'j' * 253}"))
    assert sum(map(len, client.calls)) == len(sizes)
    for call in client.calls:
        assert len(call) <= 10
        assert sum(call) <= 262_144 or len(call) == 1
