"""The Kinesis sink against the emulator's streams, with calls that fail on the way, and by its limits."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.policy import Fault, Kind, When, script, sometimes
from faults.proxy import FaultProxy
from pik.api.replay_job import Order
from pik.aws.clients import AwsClients
from pik.aws.kinesis_sink import KinesisSink, partition_key
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.domain.decode import decode_event
from pik.domain.errors import Denied
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.replay.ledger import reconcile_run
from pik.memory.system import InlineOffload
from pik.planning.replay.batches import TargetOrder, batches, waves
from pik.planning.replay.records import EndState
from pik.ports.sinks import Batch, Disposition, SinkTraits
from reading.streams import world
from replay.slices import ReplayEvent, event, messages, ran

RUN = "a" * 64
PUT = "kinesis.PutRecords"


def batch(*events: ReplayEvent) -> Batch:
    return Batch(RUN, 0, 0, messages(*events, run=RUN))


class Shards:
    """A data stream, read past the proxy."""

    def __init__(self, clients: AwsClients, name: str, shards: int = 2) -> None:
        self._client: Any = clients.sender("kinesis")
        self.name = name
        self._client.create_stream(StreamName=name, ShardCount=shards)
        self.arn: str = self._client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"][
            "StreamARN"
        ]

    def records(self) -> list[list[dict[str, Any]]]:
        """Of each shard, in order."""
        found = []
        for shard in self._client.list_shards(StreamName=self.name)["Shards"]:
            at = self._client.get_shard_iterator(
                StreamName=self.name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found.append(self._client.get_records(ShardIterator=at)["Records"])
        return found

    def first_of_each(self) -> dict[str, list[str]]:
        """Entity to event ids, by the shards' order, repeats left out as a consumer does: by their key."""
        found: dict[str, list[str]] = defaultdict(list)
        seen: set[str] = set()
        for records in self.records():
            for each in records:
                told = orjson.loads(each["Data"])
                if told["pikkey"] not in seen:
                    seen.add(told["pikkey"])
                    found[told["subject"]].append(told["id"])
        return found


@pytest.fixture
def shards(clients: AwsClients, unique: str) -> Shards:
    return Shards(clients, unique)


@pytest.fixture
def sink(through: AwsClients, io: ThreadOffload, shards: Shards) -> KinesisSink:
    return KinesisSink(through.sender("kinesis"), io, shards.name)


async def test_each_event_is_a_record_with_its_bytes_and_its_entitys_shard(
    sink: KinesisSink, shards: Shards
) -> None:
    events = [event(n, f"e{n % 5}", data=b'{"n": 1.00, "u": "\\u00e9\xc3\xa9"}') for n in range(20)]
    deliveries = await sink.send(batch(*events))
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    assert deliveries[0].answer.startswith("shardId-")
    found = shards.records()
    assert all(found)
    assert all(
        each["Data"].endswith(b',"data":' + events[0].data + b"}") for records in found for each in records
    )
    homes = [{each["PartitionKey"] for each in records} for records in found]
    assert homes[0] | homes[1] == {f"e{n}" for n in range(5)}
    assert not homes[0] & homes[1]
    record = found[0][0]
    taken = decode_event(record["Data"], IntakeRules())  # captured again it is what it was
    assert isinstance(taken, Decoded)
    assert taken.arrival.entity_id == record["PartitionKey"]
    assert taken.arrival.attributes is None
    assert taken.claim is not None
    assert taken.claim.run_id == RUN


async def test_a_stream_can_be_named_by_its_arn(
    through: AwsClients, io: ThreadOffload, shards: Shards
) -> None:
    [delivery] = await KinesisSink(through.sender("kinesis"), io, shards.arn).send(batch(event(1)))
    assert delivery.disposition is Disposition.DELIVERED


async def test_records_that_fail_are_told_from_the_rest(
    sink: KinesisSink, proxy: FaultProxy, shards: Shards
) -> None:
    proxy.policy = script(
        {PUT: [Fault(Kind.PART, entries=[1]), Fault(Kind.PART, entries=[0], code="InternalFailure")]}
    )
    for reason in ("Throttled", "Unavailable"):
        deliveries = await sink.send(batch(event(0, "a"), event(1, "b")))
        assert sorted((d.disposition, d.reason) for d in deliveries) == [
            (Disposition.DELIVERED, ""),
            (Disposition.RETRYABLE, reason),
        ]
    assert sorted(shards.first_of_each()) == ["a", "b"]


@pytest.mark.parametrize(
    ("fault", "reason", "landed"),
    [
        (Fault(Kind.THROTTLE), "Throttled", 0),
        (Fault(Kind.ERROR), "Unavailable", 0),
        (Fault(Kind.RESET, When.AFTER), "Unavailable", 1),
        (Fault(Kind.TRUNCATE), "Unavailable", 1),
        (Fault(Kind.CODE, code="KMSThrottlingException"), "Throttled", 0),
    ],
    ids=str,
)
async def test_a_call_that_fails_leaves_all_of_it_open(
    sink: KinesisSink, proxy: FaultProxy, shards: Shards, fault: Fault, reason: str, landed: int
) -> None:
    proxy.policy = script({PUT: [fault]})
    [delivery] = await sink.send(batch(event(1)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, reason)
    assert sum(map(len, shards.records())) == landed
    assert proxy.numbers[PUT] == 1  # nobody repeats it but the replay


async def test_what_is_not_there_may_come_and_what_is_not_allowed_is_no_answer(
    sink: KinesisSink, through: AwsClients, io: ThreadOffload, proxy: FaultProxy, unique: str
) -> None:
    away = KinesisSink(through.sender("kinesis"), io, f"{unique}-away")
    [delivery] = await away.send(batch(event(1)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "StreamNotFound")
    proxy.policy = lambda _: Fault(Kind.CODE, code="AccessDeniedException")
    with pytest.raises(Denied):
        await sink.send(batch(event(1)))


async def test_a_record_that_is_too_large_is_refused_alone(
    sink: KinesisSink, proxy: FaultProxy, shards: Shards
) -> None:
    large = b'"' + b"x" * 2**20 + b'"'
    deliveries = await sink.send(batch(event(0, "a"), event(1, "b", data=large), event(2, "c")))
    assert [d.disposition for d in deliveries] == [
        Disposition.DELIVERED,
        Disposition.REFUSED,
        Disposition.DELIVERED,
    ]
    assert deliveries[1].reason == "ValidationException"
    assert proxy.numbers[PUT] == 2
    proxy.policy = script({PUT: [None, None, Fault(Kind.CODE, code="InvalidArgumentException")]})
    deliveries = await sink.send(batch(event(3, "a"), event(4, "b")))  # of a call that is refused as a whole
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    assert proxy.numbers[PUT] == 5


class Believing(KinesisSink):
    """A sink that believes a call's order to be kept."""

    @property
    def traits(self) -> SinkTraits:
        return msgspec.structs.replace(super().traits, order=TargetOrder.BATCH)


@pytest.mark.parametrize("kind", [KinesisSink, Believing])
async def test_no_event_of_an_entity_overtakes_another_when_records_fail(
    kind: type[KinesisSink],
    through: AwsClients,
    io: ThreadOffload,
    shards: Shards,
    proxy: FaultProxy,
    tmp_path: Path,
) -> None:
    faults = [Fault(Kind.PART), Fault(Kind.THROTTLE), Fault(Kind.RESET, When.AFTER)]
    proxy.policy = sometimes(3, 0.5, faults)
    events = [event(n, f"e{n % 4}") for n in range(60)]
    made = await world(tmp_path)
    sink = kind(through.sender("kinesis"), io, shards.name)
    plan, end = await ran(made, events, sink, shards=2, target=target(shards.name))
    assert end is not None
    assert (end.state, end.totals.sent) == (EndState.SUCCEEDED, 60)
    assert (await reconcile_run(made.stream, plan)).whole
    assert len({name for (_, name), _ in proxy.counts.items()}) == 4  # each of the faults, and none
    found = shards.first_of_each()
    assert sorted(each for ids in found.values() for each in ids) == sorted(e.event_id for e in events)
    ordered = all(ids == sorted(ids) for ids in found.values())
    assert ordered is (kind is KinesisSink)  # the other one shows that this test can fail


async def test_what_is_refused_for_good_goes_to_the_dead_letter_queue(
    sink: KinesisSink,
    clients: AwsClients,
    io: ThreadOffload,
    shards: Shards,
    proxy: FaultProxy,
    tmp_path: Path,
    unique: str,
) -> None:
    no = Fault(Kind.CODE, code="InvalidArgumentException")
    proxy.policy = script({PUT: [None, no, no]})  # the second call, and of that the first event alone
    sqs = clients.client("sqs")
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    fields = {"action": "DeadLetter", "deadLetter": {"queueURL": url}}
    events = [event(n, f"e{n % 2}") for n in range(5)]
    made = await world(tmp_path)
    plan, end = await ran(
        made,
        events,
        sink,
        changes={"dead_letter": SQSSink(sqs, io, url)},
        target=target(shards.name),
        onError=fields,
    )
    assert end is not None
    assert (end.totals.sent, end.totals.failed) == (4, 1)
    [buried] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert orjson.loads(buried["Body"])["id"] == events[2].event_id
    assert (await reconcile_run(made.stream, plan)).whole


def target(name: str) -> dict[str, Any]:
    return {"type": "Kinesis", "kinesis": {"streamName": name}}


class Counting:
    """A client that keeps the sizes of its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> Any:  # noqa: N803
        self.calls.append([len(each["Data"]) + len(each["PartitionKey"].encode()) for each in Records])
        return {"Records": [{"SequenceNumber": "1", "ShardId": "0"} for _ in Records], "ResponseMetadata": {}}


@given(st.lists(st.sampled_from([10, 1_000, 9_000, 200_000, 2**20 - 900]), min_size=1, max_size=600))
async def test_calls_keep_within_the_quotas_however_large_the_events_are(sizes: list[int]) -> None:
    made = messages(*(event(n, "x" * 256 + str(n), data=b"1" * size) for n, size in enumerate(sizes)))
    client: Any = Counting()
    sink = KinesisSink(client, InlineOffload(), "s")
    traits = sink.traits
    lengths = [len(one.body) for one in made]
    entities = [one.entity_id for one in made]
    for wave in waves(entities, Order.ENTITY_TIME, traits.order):
        for call in batches(wave, lengths, traits.batch_events, traits.batch_bytes):
            await sink.send(Batch(RUN, 0, 0, made.at(call)))
    assert sum(map(len, client.calls)) == len(sizes)
    assert all(len(call) <= 500 and sum(call) <= 5 * 2**20 for call in client.calls)


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_entities_never_share_a_partition_key(one: str, other: str) -> None:
    for entity in (one, other, f"sha256:{one}", one * 300):
        assert 1 <= len(partition_key(entity).encode()) <= 256
    if one != other:
        assert partition_key(one) != partition_key(other)
    assert partition_key(partition_key("x" * 257)) != partition_key("x" * 257)
