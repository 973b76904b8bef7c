"""What a plan's hash binds, what an owner's policy refuses, and what is estimated."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.api.capture_stream import CaptureStream, ReplayPolicy
from pik.api.conditions import Reason
from pik.api.replay_job import ApprovalGrant, Order, Pace
from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID, TimeRange
from pik.planning.replay.batches import TargetOrder, batches, next_chunk, waves
from pik.planning.replay.estimate import (
    bounds,
    duration_text,
    estimated_cost,
    estimated_requests,
    estimated_seconds,
)
from pik.planning.replay.pace import EffectivePace, effective_pace, share
from pik.planning.replay.plan import Measure, PlannedSegment, ReplayPlan, may_hold, plan_hash, verify_plan
from pik.planning.replay.policy import StreamAddresses, feeds_itself, plan_refusals, spec_refusals
from pik.planning.replay.spec import ReplaySpec, TargetAddress, order_caveat, replay_spec, run_id
from pik.planning.replay.taken import ingest_urls, taken_from
from reading.streams import START, after
from replay.slices import HTTP, job, spec

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/"
FUNCTIONS = "arn:aws:lambda:eu-west-1:123456789012:function:"
FUNCTION = {"type": "Lambda", "lambda": {"functionName": "f"}}
BUS = {"type": "EventBridge", "eventBridge": {"eventBusName": "default"}}
KINESIS = {"type": "Kinesis", "kinesis": {"streamName": "orders"}}
SQS = {"type": "SQS", "sqs": {"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/q"}}
FIFO = {"type": "SQS", "sqs": {"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/q.fifo"}}
OWN = StreamAddresses(("http://127.0.0.1:8321/streams/tests/things/events",), "own-bucket", "here/")
SEGMENTS = (PlannedSegment("a", "1"), PlannedSegment("b", "2"))


def plan(what: ReplaySpec, matched: int = 10, stale: int = 0) -> ReplayPlan:
    return ReplayPlan(
        hash=plan_hash(what, "stream", START.text, SEGMENTS),
        run_id="run",
        stream_id="stream",
        spec=what,
        as_of=START.text,
        generation=1,
        semantics=1,
        segments=SEGMENTS,
        reads=(),
        measure=Measure(matched, 1_000, START.text, after(3_600).text, 0, stale),
        stale_entities=(),
    )


OTHERS: list[dict[str, Any]] = [
    {"select": {"entities": ["e1"]}},
    {"select": {"sources": ["s"]}},
    {"select": {"eventTypes": ["t"]}},
    {"select": {"where": "true"}},
    {"select": {"duplicates": "All"}},
    {"select": {"limit": 5}},
    {"select": {"window": {"from": START.text, "to": after(3_601).text}}},
    {"select": {"window": {"from": START.text, "to": after(3_600).text, "field": "IngestTime"}}},
    {"target": SQS},
    {"target": {"type": "HTTP", "http": {"url": "https://example.test/other"}}},
    {"target": {"type": "HTTP", "http": {"url": "https://example.test/hook", "secretRef": {"name": "s"}}}},
    {"target": KINESIS},
    {"target": {"type": "Kinesis", "kinesis": {"streamARN": f"{ARN}b"}}},
    {"target": BUS},
    {"target": {"type": "EventBridge", "eventBridge": {"eventBusName": "default", "source": "s"}}},
    {"target": {"type": "EventBridge", "eventBridge": {"eventBusName": "default", "detailType": "s"}}},
    {"target": FUNCTION},
    {"target": {"type": "Lambda", "lambda": {"functionName": "f", "invocation": "Event"}}},
    {"target": {"type": "Lambda", "lambda": {"functionName": "f", "batchSize": 5}}},
    {"order": "EventTime"},
    {"shards": 2},
    {"onError": {"action": "HoldEntity"}},
    {"onStale": "Send"},
    {"retriesPerShard": 1},
    {"streamRef": {"name": "others"}},
]


@pytest.mark.parametrize("fields", OTHERS)
def test_every_field_of_the_slice_and_its_sending_is_in_the_hash(fields: dict[str, Any]) -> None:
    assert spec(**fields).digest != spec().digest
    assert plan_hash(spec(**fields), "s", START.text, SEGMENTS) != plan_hash(
        spec(), "s", START.text, SEGMENTS
    )


def test_a_field_that_came_later_does_not_change_what_was_hashed_before() -> None:
    to_s3 = spec(target={"type": "S3", "s3": {"bucket": "abc", "prefix": "p"}})
    assert spec().digest == "4d58f911ed91cb238bca7c692692d1bd9def9daa21347f06310614187ab0f227"
    assert to_s3.digest == "fdaa14a7d4c36949e01272d9b3e034c033e0490a536b8617e1757258780271c9"


def test_stream_instant_segments_and_semantics_are_in_the_hash() -> None:
    hashes = {
        plan_hash(spec(), "s", START.text, SEGMENTS),
        plan_hash(spec(), "other", START.text, SEGMENTS),
        plan_hash(spec(), "s", after(1).text, SEGMENTS),
        plan_hash(spec(), "s", START.text, SEGMENTS[:1]),
        plan_hash(spec(), "s", START.text, (SEGMENTS[0], PlannedSegment("b", "3"))),
        plan_hash(spec(), "s", START.text, SEGMENTS, semantics=2),
    }
    assert len(hashes) == 6


def test_pace_mode_and_spelling_are_not_in_the_hash() -> None:
    same = [
        job(select={"entities": ["b", "a"]}, pace={"speed": 60}, mode="Run", parallelism=1),
        job(select={"entities": ["a", "b"]}, pace={"eventsPerSecond": 5}, suspend=True),
        job(select={"entities": ["a", "b"]}, streamRef={"name": "things", "namespace": "tests"}),
        job(
            select={
                "entities": ["a", "b"],
                "window": {"from": START.text.replace("Z", "+00:00"), "to": after(3_600).text},
            }
        ),
    ]
    assert len({replay_spec(each, "tests").digest for each in same}) == 1


def test_a_plan_that_was_changed_is_not_its_hash() -> None:
    whole = plan(spec())
    assert verify_plan(whole)
    for changes in ({"spec": spec(shards=2)}, {"as_of": after(1).text}, {"segments": SEGMENTS[:1]}):
        assert not verify_plan(_changed(whole, **changes))


def test_a_run_is_named_by_what_asked_for_it_and_nothing_else() -> None:
    names = [
        run_id("s", "ns", "n", "1"),
        run_id("s", "ns", "n", "2"),
        run_id("s", "ns", "m", "1"),
        run_id("s", "n", "s", "1"),
        run_id("t", "ns", "n", "1"),
        run_id("s", "ns/n", "", "1"),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == run_id("s", "ns", "n", "1")


def reasons(policy: dict[str, Any], what: ReplaySpec, pace: Pace | None = None) -> list[Reason]:
    found = spec_refusals(ReplayPolicy.model_validate(policy), what, pace, OWN, loopback=False)
    assert all(what.stream in refusal.message or "nothing is sent" in refusal.message for refusal in found)
    return [refusal.reason for refusal in found]


@pytest.mark.parametrize(
    ("address", "url", "allowed"),
    [
        ("https://example.test/hook", "https://example.test/hook", True),
        ("https://EXAMPLE.test:443/hook", "https://example.test/hook", True),
        ("https://example.test/hook", "https://example.test/hook/more", False),
        ("https://example.test/hook", "http://example.test/hook", False),
        ("https://example.test/hook", "https://example.test/hook?x=1", False),
        ("https://example.test/*", "https://example.test/any/where?x=1", True),
        ("https://example.test/team/*", "https://example.test/team/hook", True),
        ("https://example.test/team/*", "https://example.test/teams", False),
        ("https://example.test/team/*", "https://example.test/team/../admin", False),
        ("https://example.test/team/*", "https://example.test/team/%2e%2E/admin", False),
        ("https://example.test/team/*", "https://example.test/team/..%2fadmin", False),
        ("https://example.test/team/*", "https://example.test.evil.test/team/x", False),
        ("https://example.test/team/*", "https://example.test:8443/team/x", False),
        (None, "https://anywhere.test/", True),
    ],
)
def test_targets_are_those_that_the_owner_lists(address: str | None, url: str, allowed: bool) -> None:
    entry = {"type": "HTTP"} if address is None else {"type": "HTTP", "address": address}
    what = spec(target={"type": "HTTP", "http": {"url": url}})
    assert reasons({"targets": [entry]}, what) == ([] if allowed else [Reason.POLICY_EXCEEDED])


@pytest.mark.parametrize(
    ("address", "named", "allowed"),
    [
        (f"{ARN}orders", {"streamARN": f"{ARN}orders"}, True),
        (f"{ARN}orders", {"streamARN": f"{ARN}orders2"}, False),
        (f"{ARN}orders", {"streamName": "orders"}, False),  # of whichever account that is
        (f"{ARN}*", {"streamARN": f"{ARN}orders"}, True),
        (f"{ARN}*", {"streamARN": f"{ARN.replace('west', 'east')}orders"}, False),
        (f"{ARN}*", {"streamName": "orders"}, False),
        ("orders", {"streamName": "orders"}, True),
        ("orders", {"streamName": "orders2"}, False),
        (None, {"streamName": "orders"}, True),
    ],
)
def test_an_arn_or_a_name_is_allowed_as_it_is_written(
    address: str | None, named: dict[str, str], allowed: bool
) -> None:
    entry = {"type": "Kinesis"} if address is None else {"type": "Kinesis", "address": address}
    what = spec(target={"type": "Kinesis", "kinesis": named})
    assert reasons({"targets": [entry]}, what) == ([] if allowed else [Reason.POLICY_EXCEEDED])


@pytest.mark.parametrize(
    ("address", "function", "allowed"),
    [
        (f"{FUNCTIONS}f", f"{FUNCTIONS}f", True),
        (f"{FUNCTIONS}f", f"{FUNCTIONS}f:live", False),
        (f"{FUNCTIONS}f:*", f"{FUNCTIONS}f:live", True),
        (f"{FUNCTIONS}f:*", f"{FUNCTIONS}f2:live", False),
        (f"{FUNCTIONS}*", f"{FUNCTIONS}f:live", True),
    ],
)
def test_a_functions_versions_are_allowed_by_a_star(address: str, function: str, allowed: bool) -> None:
    what = spec(target={"type": "Lambda", "lambda": {"functionARN": function}})
    entry = {"type": "Lambda", "address": address}
    assert reasons({"targets": [entry]}, what) == ([] if allowed else [Reason.POLICY_EXCEEDED])


def test_what_has_a_name_and_an_arn_is_one_place() -> None:
    named = [{"functionName": "f"}, {"functionARN": f"{FUNCTIONS}f"}, {"functionARN": f"{FUNCTIONS}f:1"}]
    places = {spec(target={"type": "Lambda", "lambda": each}).target.place for each in named}
    assert len(places) == 1
    streams = [{"streamName": "f"}, {"streamARN": f"{ARN}f"}]
    places |= {spec(target={"type": "Kinesis", "kinesis": each}).target.place for each in streams}
    assert len(places) == 2


def test_a_type_that_is_not_listed_is_not_allowed_and_neither_is_a_dead_letter_queue() -> None:
    policy = {"targets": [{"type": "HTTP"}]}
    assert reasons(policy, spec(target=SQS)) == [Reason.POLICY_EXCEEDED]
    letters = {"action": "DeadLetter", "deadLetter": {"queueURL": "https://sqs.example.test/1/dead"}}
    assert reasons(policy, spec(onError=letters)) == [Reason.POLICY_EXCEEDED]
    assert reasons({"targets": [{"type": "HTTP"}, {"type": "SQS"}]}, spec(onError=letters)) == []


def test_a_rate_above_the_owners_is_refused_and_no_rate_is_held_to_it() -> None:
    policy = {"maxEventsPerSecond": 10}
    assert reasons(policy, spec(), Pace(eventsPerSecond=11)) == [Reason.POLICY_EXCEEDED]
    assert reasons(policy, spec(), Pace(eventsPerSecond=10)) == []
    owner = ReplayPolicy.model_validate(policy)
    assert effective_pace(owner, None) == EffectivePace(10, None)
    assert effective_pace(owner, Pace(speed=60)) == EffectivePace(10, 60)
    assert effective_pace(owner, Pace(eventsPerSecond=3)) == EffectivePace(3, None)
    assert share(EffectivePace(10, 60), 4) == EffectivePace(2.5, 60)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8321/streams/tests/things/events",
        "http://localhost:8321/streams/tests/things/events",
        "http://[::1]:8321/streams/tests/things/events?x=1",
        "http://127.0.0.1:8321/streams/tests/things/events/",
        "http://127.0.0.1:8321/streams/./tests/other/../things/events",
    ],
)
def test_a_stream_is_not_fed_to_itself(url: str) -> None:
    found = spec_refusals(
        ReplayPolicy(), spec(target={"type": "HTTP", "http": {"url": url}}), None, OWN, loopback=True
    )
    assert [refusal.reason for refusal in found] == [Reason.SELF_REPLAY]


@pytest.mark.parametrize(
    ("bucket", "prefix", "itself"),
    [
        ("own-bucket", "here", True),
        ("own-bucket", "here/raw", True),
        ("own-bucket", "hereafter", False),
        ("other-bucket", "here", False),
    ],
)
def test_a_slice_is_not_written_among_the_streams_own_objects(bucket: str, prefix: str, itself: bool) -> None:
    target = {"type": "S3", "s3": {"bucket": bucket, "prefix": prefix}}
    assert feeds_itself(spec(target=target).target, OWN) == itself
    everything = StreamAddresses((), "own-bucket", "")
    assert feeds_itself(spec(target=target).target, everything) == (bucket == "own-bucket")


def test_a_stream_is_not_fed_to_itself_by_what_it_alone_takes_events_from() -> None:
    lambda_arn = f"{FUNCTIONS}pik-things-ingest:live"
    sources = [
        {"name": "queue", "type": "SQS", "sqs": {}},
        {"name": "made", "type": "Kinesis", "kinesis": {}},
        {"name": "shared", "type": "Kinesis", "kinesis": {"streamARN": f"{ARN}shared"}},
        {"name": "bus", "type": "EventBridge", "eventBridge": {"pattern": "{}", "entityID": {"value": "e"}}},
        {"name": "objects", "type": "S3", "s3": {"bucket": "inbox", "prefix": "in/2026", "format": "NDJSON"}},
    ]
    read = {"state": "Reading"}
    stream = CaptureStream.from_manifest(
        {
            "metadata": {"name": "things"},
            "spec": {
                "storage": {"prefix": "p"},
                "ingest": {"lambda": {"roleARN": "arn:aws:iam::123456789012:role/f"}, "sources": sources},
            },
            "status": {
                "sources": [
                    {"name": "queue", "type": "SQS", "address": SQS["sqs"]["queueURL"], **read},
                    {"name": "made", "type": "Kinesis", "address": f"{ARN}made", **read},
                    {"name": "shared", "type": "Kinesis", "address": f"{ARN}shared", **read},
                    {"name": "bus", "type": "EventBridge", "address": "eventbridge://default", **read},
                ],
                "functions": [
                    {"name": "ingest", "function": "f", "arn": lambda_arn, "url": "https://f.on.aws/"},
                    {
                        "name": "processor",
                        "function": "p",
                        "arn": f"{FUNCTIONS}p:live",
                        "queueURL": "https://h/1/p",
                    },
                ],
            },
        }
    )
    own = StreamAddresses(ingest_urls(stream), "own-bucket", "here/", taken_from(stream))
    itself: list[dict[str, Any]] = [
        SQS,
        {"type": "Kinesis", "kinesis": {"streamARN": f"{ARN}made"}},
        {"type": "Kinesis", "kinesis": {"streamName": "made"}},
        {"type": "Lambda", "lambda": {"functionName": "pik-things-ingest"}},
        {"type": "HTTP", "http": {"url": "https://f.on.aws/"}},
        {"type": "S3", "s3": {"bucket": "inbox", "prefix": "in"}},
        {"type": "S3", "s3": {"bucket": "inbox", "prefix": "in/2026/x"}},
        {"type": "S3", "s3": {"bucket": "own-bucket", "prefix": "here/x"}},
    ]
    others: list[dict[str, Any]] = [
        FIFO,
        {"type": "SQS", "sqs": {"queueURL": "https://h/1/p"}},  # to be processed
        {"type": "Kinesis", "kinesis": {"streamARN": f"{ARN}shared"}},
        BUS,
        {"type": "Lambda", "lambda": {"functionName": "p"}},
        {"type": "S3", "s3": {"bucket": "inbox", "prefix": "out"}},
    ]
    assert [feeds_itself(spec(target=each).target, own) for each in itself] == [True] * len(itself)
    assert [feeds_itself(spec(target=each).target, own) for each in others] == [False] * len(others)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "127.0.0.1", "[::ffff:a9fe:a9fe]"])
def test_a_forbidden_address_is_refused_before_anything_is_read(host: str) -> None:
    assert reasons({}, spec(target={"type": "HTTP", "http": {"url": f"http://{host}/x"}})) == [
        Reason.TARGET_FORBIDDEN
    ]


def test_an_approval_is_of_one_plan() -> None:
    policy = ReplayPolicy.model_validate({"approval": "Required"})
    shown = plan(spec())
    [refusal] = plan_refusals(policy, shown, None)
    assert refusal.reason is Reason.AWAITING_APPROVAL
    assert plan_refusals(policy, shown, ApprovalGrant(plan=shown.hash, by="ann")) == []
    [refusal] = plan_refusals(policy, plan(spec(shards=2)), ApprovalGrant(plan=shown.hash, by="ann"))
    assert refusal.reason is Reason.AWAITING_APPROVAL
    assert "another plan" in refusal.message
    assert plan_refusals(ReplayPolicy(), shown, None) == []


def test_too_many_events_and_stale_entities_are_refused() -> None:
    policy = ReplayPolicy.model_validate({"maxEvents": 9})
    assert [r.reason for r in plan_refusals(policy, plan(spec()), None)] == [Reason.POLICY_EXCEEDED]
    assert plan_refusals(policy, plan(spec(), matched=9), None) == []
    for on_stale, refused in (("Fail", [Reason.STALE_EVENTS]), ("Skip", []), ("Send", [])):
        found = plan_refusals(ReplayPolicy(), plan(spec(onStale=on_stale), stale=3), None)
        assert [refusal.reason for refusal in found] == refused


def entry(first: Instant, last: Instant, **outcomes: int) -> SegmentEntry:
    return SegmentEntry(
        segment=SegmentID("0" * 32, 1),
        key="k",
        sha256="0",
        bytes=100,
        rows=sum(outcomes.values()),
        ingest_time=START,
        known_from=START,
        event_time=TimeRange(first, last),
        received_time=None,
        outcomes=outcomes,
        sources=("s",),
        event_types=("t",),
        sources_complete=True,
        event_types_complete=True,
    )


def test_bounds_come_from_the_manifest_alone() -> None:
    segments = [
        entry(after(0), after(10), ACCEPTED=5, DUPLICATE=2),
        entry(after(-10), after(10), ACCEPTED=7),
        entry(after(3_600), after(3_700), ACCEPTED=11),
        entry(after(0), after(1), **{Outcome.RECORDED.value: 3}),
    ]
    found = bounds(spec(), segments[:3], on_read=False)
    assert (found.least, found.most, found.segments, found.scanned_bytes) == (5, 12, 2, 200)
    assert bounds(spec(select={"duplicates": "All"}), segments[:3], on_read=False).most == 14
    assert bounds(spec(select={"limit": 4}), segments[:3], on_read=False).most == 4
    assert bounds(spec(select={"where": "true"}), segments[:3], on_read=False).least == 0
    assert bounds(spec(select={"sources": ["other"]}), segments[:3], on_read=False).most == 0
    assert bounds(spec(), segments[3:], on_read=True) == bounds(
        spec(select={"where": "true"}), segments[3:], on_read=True
    )


def test_a_segment_that_lists_not_all_of_its_sources_and_types_may_hold_any() -> None:
    many = msgspec.structs.replace(
        entry(after(0), after(1), ACCEPTED=5),
        sources=(),
        event_types=(),
        sources_complete=False,
        event_types_complete=False,
    )
    assert may_hold(spec(select={"sources": ["x"], "eventTypes": ["y"]}), many)
    listed = msgspec.structs.replace(many, sources=("s",), sources_complete=True)
    assert not may_hold(spec(select={"sources": ["x"]}), listed)


def test_durations() -> None:
    measure = Measure(1_000, 0, START.text, after(7_200).text, 0, 0)
    assert estimated_seconds(measure, EffectivePace()) is None
    assert estimated_seconds(measure, EffectivePace(10)) == 100
    assert estimated_seconds(measure, EffectivePace(None, 60)) == 120
    assert estimated_seconds(measure, EffectivePace(10, 60)) == 120
    assert [duration_text(seconds) for seconds in (0, 0.2, 61, 3_600, 36_610.5)] == [
        "0s",
        "1s",
        "1m1s",
        "1h",
        "10h10m11s",
    ]


def test_costs_are_requests_by_their_list_price() -> None:
    measure = Measure(1_000_000, 300_000_000, START.text, after(1).text, 0, 0)
    queue = TargetAddress(spec(target=SQS).target.type, "https://sqs.example.test/1/q")
    requests = estimated_requests(measure, queue, 1)
    assert requests.target == 100_000  # by the batch; 800 MB are 12,208 of 64 KiB
    assert requests.bookkeeping == 2_005
    assert estimated_cost(requests, queue) == "0.0501"  # 100,000 × 0.0000004 + 2,005 × 0.000005, rounded up
    fifo = spec(target=FIFO).target
    assert estimated_cost(estimated_requests(measure, fifo, 1), fifo) == "0.0601"
    http = spec(target=HTTP).target
    assert estimated_requests(measure, http, 1).target == 0
    stream = spec(target=KINESIS).target
    assert estimated_requests(measure, stream, 1).target == 1_000_000  # units of 25 KB, one an event at least
    assert estimated_cost(estimated_requests(measure, stream, 1), stream) == "0.0241"
    bus = spec(target=BUS).target
    assert estimated_cost(estimated_requests(measure, bus, 1), bus) == "1.0101"
    function = spec(target=FUNCTION).target
    assert estimated_requests(measure, function, 1).target == 100_000
    assert estimated_cost(estimated_requests(measure, function, 1), function) == "0.0301"
    large = Measure(1_000, 1_000 * 100_000, START.text, after(1).text, 0, 0)
    assert estimated_requests(large, queue, 1).target == 1_534
    assert estimated_requests(large, stream, 1).target == 4_000


def test_a_status_can_say_where_a_target_keeps_less_order() -> None:
    assert "no order" in (order_caveat(spec(target=SQS)) or "")
    assert order_caveat(spec(target=FIFO)) is None
    assert "EventTime" in (order_caveat(spec(target=FIFO, order="EventTime")) or "")
    assert "no order" in (order_caveat(spec(target=BUS)) or "")
    waiting = {"type": "Lambda", "lambda": {"functionName": "f", "invocation": "Event"}}
    assert "no order" in (order_caveat(spec(target=waiting)) or "")
    assert order_caveat(spec(target=FUNCTION)) is None
    assert order_caveat(spec(target=KINESIS)) is None
    assert "shard" in (order_caveat(spec(target=KINESIS, order="EventTime")) or "")
    assert order_caveat(spec()) is None


def test_a_target_is_in_the_region_of_its_address() -> None:
    assert spec(target=KINESIS).target.region is None
    assert spec(target=SQS).target.region == "eu-west-1"
    for host in ("http://127.0.0.1:4566", "https://sqs.example.test"):
        queue = {"type": "SQS", "sqs": {"queueURL": f"{host}/1/q"}}
        assert spec(target=queue).target.region is None
    assert spec(target={"type": "Kinesis", "kinesis": {"streamARN": f"{ARN}a"}}).target.region == "eu-west-1"


ENTITIES = st.lists(st.sampled_from("abcde"), max_size=30)


@given(ENTITIES, st.sampled_from(Order), st.sampled_from(TargetOrder))
def test_waves_hold_every_event_once_and_overtake_nothing(
    entities: list[str], order: Order, target: TargetOrder
) -> None:
    found = waves(entities, order, target)
    assert sorted(n for wave in found for n in wave) == list(range(len(entities)))
    if target is not TargetOrder.MESSAGE:
        assert found == ([list(range(len(entities)))] if entities else [])
        return
    if order is not Order.ENTITY_TIME:
        assert found == [[n] for n in range(len(entities))]
    by_entity: dict[str, list[int]] = defaultdict(list)
    for wave in found:
        assert len({entities[n] for n in wave}) == len(wave)
        for n in wave:
            by_entity[entities[n]].append(n)
    assert all(positions == sorted(positions) for positions in by_entity.values())


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 10), st.integers(1, 100))
def test_batches_are_within_their_limits_and_in_order(sizes: list[int], events: int, size: int) -> None:
    found = batches(range(len(sizes)), sizes, events, size)
    assert [n for batch in found for n in batch] == list(range(len(sizes)))
    for batch in found:
        assert len(batch) <= events
        assert len(batch) == 1 or sum(sizes[n] for n in batch) <= size


@given(st.integers(1, 1_000), st.floats(0, 1_000))
def test_the_next_chunk_is_within_its_limits(count: int, seconds: float) -> None:
    following = next_chunk(count, seconds, most=1_000, aim=5.0)
    assert 1 <= following <= min(1_000, 4 * count)
    if seconds > 0:
        assert following <= max(1, count * 5 / seconds)


def _changed(whole: ReplayPlan, **changes: Any) -> ReplayPlan:
    return msgspec.structs.replace(whole, **changes)
