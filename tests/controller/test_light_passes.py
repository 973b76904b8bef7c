"""Between two looks a stream is only tended: what that costs, and what must be found all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from controller.clusters import START, Cluster
from controller.manifests import STREAM, event, events
from pik.controller.gateway_watch import GatewayWatch
from pik.controller.objects import ObjectKey
from pik.controller.world import Timing
from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import Unavailable
from pik.domain.instants import Instant
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.execution.capture.landing import Landing
from pik.execution.capture.settings import CaptureSettings
from pik.execution.verify import verify
from pik.memory.system import ManualClock
from pik.planning.storage import ObservedBucket, ObservedTable

RESYNC = 600.0
TIMING = Timing(resync=RESYNC, counters=60.0, seals=300.0, orphans=3_600.0)


@pytest.fixture
async def slow(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Cluster(tmp_path, timing=TIMING)
    yield made
    await made.stop()


async def ready(cluster: Cluster, text: str = STREAM) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned"), cluster.status(key)
    return key


async def pass_time(cluster: Cluster, seconds: float, step: float = 10.0) -> Counter[str]:
    """The calls of AWS meanwhile."""
    before = Counter(cluster.cloud.calls)
    for _ in range(round(seconds / step)):
        await cluster.advance(step)
    return cluster.cloud.calls - before


async def test_a_settled_stream_is_looked_at_once_in_a_resync(slow: Cluster) -> None:
    key = await ready(slow)
    await pass_time(slow, 2 * RESYNC)
    written = len(slow.objects.written)
    told = len(slow.objects.events)
    calls = await pass_time(slow, 6 * RESYNC)
    # between 0.9 and 1 of a resync after the last time
    for call in ("provisioner.bucket", "provisioner.table", "index.generation"):
        assert 6 <= calls[call] <= 7, calls
    # its owner; and once an hour the newest record of generations
    assert calls["objects.read"] <= 7 + 1
    # its counters with each look, and the manifest once for the sweep of an hour
    assert calls["index.segments"] <= 7 + 1
    assert calls["objects.list"] <= 1 + 1
    assert calls["provisioner.apply"] == 0
    assert len(slow.objects.written) == written
    assert len(slow.objects.events) == told
    assert slow.condition(key, "Ready") == ("True", "Provisioned")


async def test_of_a_thousand_streams_no_two_stay_together(slow: Cluster) -> None:
    """They come at once, and are looked at all over the resync."""
    for number in range(100):
        slow.apply(STREAM.replace("name: things", f"name: s{number}"))
    await slow.settle()
    await pass_time(slow, RESYNC)
    looks = [(await pass_time(slow, RESYNC / 10))["provisioner.bucket"] for _ in range(10)]
    assert sum(looks) >= 100
    assert max(looks) <= 40
    assert min(looks) >= 1


def versioning_off(cluster: Cluster) -> None:
    settings = cluster.account.bucket_settings
    (name,) = settings
    settings[name] = msgspec.structs.replace(settings[name], versioning=False)


def lifecycle_edited(cluster: Cluster) -> None:
    settings = cluster.account.bucket_settings
    (name,) = settings
    settings[name] = msgspec.structs.replace(settings[name], rules={})


def tags_gone(cluster: Cluster) -> None:
    settings = cluster.account.bucket_settings
    (name,) = settings
    settings[name] = msgspec.structs.replace(settings[name], tags={})


def table_changed(**changes: bool) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        settings = cluster.account.table_settings
        (name,) = settings
        settings[name] = msgspec.structs.replace(settings[name], **changes)

    return change


def table_gone(cluster: Cluster) -> None:
    (name,) = cluster.account.table_settings
    cluster.account.drop_table(name)


def bucket_gone(cluster: Cluster) -> None:
    (name,) = cluster.account.bucket_settings
    cluster.account.drop_bucket(name)


def owner_changed(cluster: Cluster) -> None:
    (bucket,) = cluster.account.buckets.values()
    key = next(key for key in bucket.objects if key.endswith("owner.json"))
    there = bucket.objects[key]
    body = there.body.replace(b'"cluster":"here"', b'"cluster":"elsewhere"')
    assert body != there.body
    bucket.objects[key] = msgspec.structs.replace(there, body=body)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (versioning_off, "versioning"),
        (lifecycle_edited, "lifecycle"),
        (tags_gone, "tags"),
        (table_changed(point_in_time_recovery=False), "pointInTimeRecovery"),
        (table_changed(time_to_live=False), "timeToLive"),
        (table_changed(deletion_protection=False), "deletionProtection"),
        (table_changed(on_demand=False), "billingMode"),
        (table_gone, "table"),
        (bucket_gone, "DataLost"),
        (owner_changed, "OwnershipConflict"),
    ],
)
@pytest.mark.parametrize("after", [0.0, 100.0, 500.0])
async def test_what_others_change_is_found_within_a_resync(
    tmp_path: Path, change: Callable[[Cluster], None], found: str, after: float
) -> None:
    for seed in ("one", "two", "three"):
        cluster = Cluster(tmp_path / seed, name="here", timing=TIMING)
        key = await ready(cluster)
        await pass_time(cluster, RESYNC + after)
        change(cluster)
        await pass_time(cluster, RESYNC)
        status = cluster.status(key)
        stalled = cluster.condition(key, "Stalled")
        assert found in {drift.field for drift in status.drift} | {stalled and stalled[1]}
        if stalled is None:
            assert cluster.condition(key, "Ready") == ("True", "Provisioned")
            (bucket,) = cluster.account.bucket_settings.values()
            (table,) = cluster.account.table_settings.values()
            assert bucket.versioning
            assert "pik:some/" in bucket.rules
            assert "pik.dev/owner" in bucket.tags
            assert table.time_to_live
            assert table.point_in_time_recovery
            assert table.deletion_protection
            assert table.on_demand
        await cluster.stop()


async def test_a_table_that_is_gone_is_found_when_the_counters_are_read(slow: Cluster) -> None:
    """Of a stream that takes events: long before the next look."""
    key = await ready(slow)
    await slow.ingest(key, events(2))
    await pass_time(slow, 130)
    table_gone(slow)
    await pass_time(slow, 130)
    assert [drift.field for drift in slow.status(key).drift] == ["table"]
    reasons = {one.reason for _, status in slow.objects.written for one in status.conditions}
    assert reasons == {"Provisioned", "Provisioning", "Reindexing"}
    assert slow.condition(key, "Ready") == ("True", "Provisioned")
    assert await slow.ingest(key, events(2)) == ["DUPLICATE"] * 2


async def test_what_a_person_says_of_the_stream_is_looked_at_at_once(slow: Cluster) -> None:
    key = await ready(slow)
    await pass_time(slow, 60)
    for text in (
        STREAM.replace("{prefix: some}", "{prefix: some, tags: {a: b}}"),
        STREAM.replace("{prefix: some}", "{prefix: some, tags: {a: b}}").replace(
            "{name: things}", "{name: things, annotations: {look: again}}"
        ),
    ):
        before = slow.cloud.calls["provisioner.bucket"]
        slow.apply(text)
        await slow.settle()
        assert slow.cloud.calls["provisioner.bucket"] == before + 1
    before = slow.cloud.calls["provisioner.bucket"]
    slow.forget_status(key)
    await slow.settle()
    assert slow.cloud.calls["provisioner.bucket"] == before + 1
    assert slow.condition(key, "StorageReady") == ("True", "Provisioned")
    slow.queue.add(key)  # nothing was said
    await slow.settle()
    assert slow.cloud.calls["provisioner.bucket"] == before + 1


async def test_counters_are_read_ever_more_seldom_while_nothing_comes(slow: Cluster) -> None:
    """Soon after the stream was made and after each event, and in the end with the looks."""
    key = await ready(slow)
    young = (await pass_time(slow, 600))["index.segments"]
    old = (await pass_time(slow, 3_600))["index.segments"]
    assert 4 <= young <= 7
    assert old <= 3_600 / RESYNC + 6
    await slow.ingest(key, events(1))
    await slow.settle()
    assert slow.status(key).counters.events == 1  # the first, at once: it freezes the mapping
    busy = Counter[str]()
    for minute in range(10):
        await slow.ingest(key, [*events(minute + 2)[-1:]])
        busy += await pass_time(slow, 60)
    assert 9 <= busy["index.segments"] - busy["provisioner.bucket"] <= 22
    assert slow.status(key).counters.events >= 10


async def test_events_that_another_process_took_are_counted_in_a_resync(slow: Cluster) -> None:
    key = await ready(slow)
    await pass_time(slow, 3 * RESYNC)
    writer = slow.opened(key).stream
    other = type(slow.opened(key).capture).__mro__[1](writer)  # a writer that this process knows nothing of
    await other.ingest(events(3))
    await other.close()
    await pass_time(slow, RESYNC)
    assert slow.status(key).counters.events == 3
    assert slow.status(key).firstIngestTime is not None


async def test_all_is_sealed_and_nothing_is_sealed_twice(slow: Cluster) -> None:
    key = await ready(slow)
    stream = slow.opened(key).stream
    for number in range(40):
        if number % 7 < 3:
            await slow.ingest(key, [events(number + 1)[-1]])
        await pass_time(slow, 100)
    await pass_time(slow, 900)
    whole = await verify(stream)
    assert whole.findings == ()
    assert whole.checked.sealed == whole.checked.segments > 10
    quiet = await pass_time(slow, 7_200)
    assert quiet["objects.create"] == 0


async def test_an_event_after_a_quiet_time_is_sealed_though_none_follows(slow: Cluster) -> None:
    """It is counted while it may still be landing, and so before it may be sealed."""
    key = await ready(slow)
    await pass_time(slow, 2 * RESYNC)
    await slow.ingest(key, events(1))
    await pass_time(slow, 2 * RESYNC)
    whole = await verify(slow.opened(key).stream)
    assert whole.checked.sealed == whole.checked.segments == 1


async def test_what_lands_hours_late_is_sealed_in_a_day(slow: Cluster) -> None:
    key = await ready(slow)
    stream = slow.opened(key).stream
    for number in range(9):
        await slow.ingest(key, [event(number)])
        await pass_time(slow, 3_600, 60.0)
    stamp = Instant(slow.clock.now().micros - 20_000_000_000)
    segment = segment_id(stamp, stream.entropy.hex(20), 1)
    landing = Landing(stream, CaptureSettings())
    head = SegmentHead(stream.layout.stream_id, segment, stamp)
    assert await landing.register(await landing.land(head, [Row(0, event(99), Outcome.ACCEPTED)]))
    calls = Counter[str]()
    for number in range(9, 9 + 26):
        await slow.ingest(key, [event(number)])
        calls = await pass_time(slow, 3_600, 60.0)
    assert calls["objects.read"] <= 7 + 2 + 1  # owner, generations: and not thirty seals
    whole = await verify(stream)
    assert whole.checked.sealed == whole.checked.segments == 36
    assert slow.status(key).counters.events == 36


async def test_what_is_sealed_is_sealed_again_by_nobody_who_starts_anew(slow: Cluster) -> None:
    key = await ready(slow)
    await slow.ingest(key, events(3))
    await pass_time(slow, 900)
    created = slow.cloud.calls["objects.create"]
    await slow.stop()
    slow.start()
    await slow.settle()
    await pass_time(slow, 900)
    assert slow.cloud.calls["objects.create"] == created
    assert slow.condition(key, "Ready") == ("True", "Provisioned")


async def test_an_orphan_is_found_in_an_hour_and_counted(slow: Cluster) -> None:
    key = await ready(slow)
    await slow.ingest(key, events(4))
    await pass_time(slow, 120)
    (table,) = slow.account.tables.values()
    segments = dict(table.segments)
    table.segments.clear()
    await pass_time(slow, 3_600 + RESYNC, 60.0)
    assert dict(table.segments) == segments
    assert [one.reason for _, one in slow.objects.events].count("OrphansIndexed") == 1
    await pass_time(slow, RESYNC)
    assert slow.status(key).counters.events == 4


async def test_while_the_gateway_is_away_nobody_asks_aws(slow: Cluster) -> None:
    key = await ready(slow)
    await pass_time(slow, RESYNC)
    slow.gateway_is_up = False
    slow.queue.add(key)
    await slow.settle()
    assert slow.condition(key, "Ready") == ("False", "GatewayUnavailable")
    calls = await pass_time(slow, 300)
    assert calls.total() <= 10  # a look, at most
    slow.gateway_is_up = True
    await pass_time(slow, 60)
    assert slow.condition(key, "Ready") == ("True", "Provisioned")


async def test_a_gateway_that_goes_and_comes_is_told_to_all_streams_at_once() -> None:
    answers = iter([True, True, False, False, False, True, True])
    changed: list[int] = []
    asked = 0

    async def answer() -> bool:
        nonlocal asked
        asked += 1
        try:
            return next(answers)
        except StopIteration:
            raise asyncio.CancelledError from None

    watch = GatewayWatch(answer, lambda: changed.append(asked), ManualClock(START), every=10.0)
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert changed == [3, 6]


async def test_what_is_interrupted_is_looked_at_whole_the_next_time(slow: Cluster) -> None:
    key = await ready(slow)
    await slow.ingest(key, events(1))
    await pass_time(slow, 30)
    slow.cloud.fault = lambda _: Unavailable("away")
    await pass_time(slow, 70)
    assert slow.condition(key, "Ready") == ("False", "AWSUnavailable")
    slow.cloud.fault = lambda _: None
    before = slow.cloud.calls["provisioner.bucket"]
    await pass_time(slow, 70)
    assert slow.condition(key, "Ready") == ("True", "Provisioned")
    assert slow.cloud.calls["provisioner.bucket"] > before


async def test_only_a_few_indexes_are_built_at_once(tmp_path: Path) -> None:
    """A rebuild reads all of a stream's raw; a thousand at once would need it all in memory."""
    cluster = Cluster(tmp_path, timing=TIMING)
    now = most = 0

    async def before(call: str) -> None:
        nonlocal now, most
        if call == "index.fence":
            now += 1
            most = max(most, now)
            for _ in range(300):
                await asyncio.sleep(0)
        if call == "index.set_ready":
            now -= 1

    counted = cluster.cloud.before

    async def both(call: str) -> None:
        await before(call)
        await counted(call)

    cluster.cloud.before = both  # type: ignore[method-assign]
    for number in range(30):
        cluster.apply(STREAM.replace("name: things", f"name: s{number}"))
    await cluster.settle()
    assert {cluster.condition(key, "Ready") for key in cluster.objects.keys()} == {("True", "Provisioned")}  # noqa: SIM118
    assert 2 <= most <= 4
    await cluster.stop()


def test_what_a_look_leaves_out_is_not_taken_for_a_difference() -> None:
    """A bucket that is looked at again says nothing of its lock and of what it holds."""
    assert ObservedBucket(object_lock=None, empty=None) != ObservedBucket()
    assert ObservedTable() == ObservedTable()
