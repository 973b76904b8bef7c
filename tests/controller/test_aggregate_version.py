"""AggregateVersion: computed once, kept for good, compared."""

from __future__ import annotations

import pytest

from controller.clusters import Cluster
from controller.manifests import STREAM, VERSION, event, events
from pik.api.violations import InvalidManifest
from pik.controller.objects import ObjectKey
from pik.domain.errors import Unavailable

LATER = VERSION.replace("{name: total}", "{name: later}") + "  compareTo: {name: total}\n"


async def stream(cluster: Cluster) -> ObjectKey:
    key = cluster.apply(STREAM)
    await cluster.settle()
    await cluster.ingest(key, events(6))
    await cluster.settle()
    return key


async def test_computed_once_and_kept(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(VERSION)
    await cluster.settle()
    status = cluster.status(key)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    assert (status.inputCount, status.rowCount) == (6, 1)
    assert status.shortVersion == status.version[:12]
    assert status.resultURI.endswith(f"{status.version}/rows.parquet")
    assert cluster.kstatus(key) == "Current"
    calls = cluster.cloud.calls.total()
    cluster.queue.add(key)
    await cluster.settle()
    assert cluster.cloud.calls.total() == calls
    cluster.clock.advance(100)
    cluster.delete(key)
    await cluster.settle()
    cluster.apply(VERSION)
    await cluster.settle()
    assert cluster.status(key).version == status.version
    assert cluster.status(key).asOf == status.asOf


async def test_a_stream_that_is_not_there_is_waited_for(cluster: Cluster) -> None:
    key = cluster.apply(VERSION)
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("False", "StreamNotFound")
    await stream(cluster)
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")


async def test_the_difference_names_late_new_repeated_and_contradicting(cluster: Cluster) -> None:
    things = await stream(cluster)
    compared = cluster.apply(LATER)
    await cluster.settle()
    assert cluster.condition(compared, "Complete") == ("False", "ComparisonNotReady")
    cluster.delete(compared)
    first = cluster.apply(VERSION)
    await cluster.settle()
    cluster.clock.advance(10)
    # one is sent again, one contradicts, two are late
    await cluster.ingest(things, [event(0, entity="e0"), event(1, amount="5"), event(20), event(21)])
    cluster.clock.advance(10)
    later = cluster.apply(LATER.replace("{name: later}", "{name: latest}"))
    await cluster.settle()
    assert cluster.condition(later, "Complete") == ("True", "Succeeded")
    status = cluster.status(later)
    assert status.inputCount == 8
    difference = status.difference
    assert difference.against == cluster.status(first).version
    assert (difference.rowsChanged, difference.late, difference.new, difference.missing) == (1, 2, 0, 0)
    assert (difference.duplicates, difference.conflicts) == (1, 0)


async def test_compared_with_a_version_by_its_hash(cluster: Cluster) -> None:
    await stream(cluster)
    first = cluster.apply(VERSION)
    await cluster.settle()
    version = cluster.status(first).version
    by_hash = VERSION.replace("{name: total}", "{name: same}") + f"  compareTo: {{version: '{version}'}}\n"
    same = cluster.apply(by_hash)
    unknown = cluster.apply(by_hash.replace("name: same", "name: unknown").replace(version, "a" * 64))
    await cluster.settle()
    assert cluster.status(same).difference.rowsChanged == 0
    assert cluster.condition(unknown, "Complete") == ("False", "ComparisonNotReady")


async def test_suspended_computes_nothing(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(VERSION + "  suspend: true\n")
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("False", "Suspended")
    cluster.apply(VERSION)
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    with pytest.raises(InvalidManifest, match="immutable"):
        cluster.apply(VERSION.replace("bucket: Window", "bucket: Day"))


async def test_what_cannot_be_computed_fails_with_its_reason(cluster: Cluster) -> None:
    things = await stream(cluster)
    forbidden = cluster.apply(VERSION.replace("sum(payload.amount)", "sum(now())"))
    await cluster.settle()
    assert cluster.condition(forbidden, "Stalled") == ("True", "InvalidSpec")
    cluster.clock.advance(1)
    await cluster.ingest(things, [event(30, amount='"many"')])
    cluster.clock.advance(1)
    unreadable = cluster.apply(VERSION.replace("{name: total}", "{name: text}"))
    await cluster.settle()
    assert cluster.condition(unreadable, "Failed") == ("True", "QueryFailed")
    assert cluster.kstatus(unreadable) == "Failed"


async def test_raw_that_was_changed_is_not_computed_with(cluster: Cluster) -> None:
    things = await stream(cluster)
    bucket = cluster.account.bucket(cluster.status(things).storage.bucket)
    raw = next(key for key in bucket.objects if "/raw/" in key)
    whole = bucket.objects[raw]
    bucket.objects[raw] = type(whole)(
        whole.body[:-9] + b"x" + whole.body[-8:], whole.etag, whole.last_modified
    )
    key = cluster.apply(VERSION)
    await cluster.settle()
    assert cluster.condition(key, "Failed") == ("True", "RawChanged")
    del bucket.objects[raw]
    gone = cluster.apply(VERSION.replace("{name: total}", "{name: gone}"))
    await cluster.settle()
    assert cluster.condition(gone, "Reconciling") == ("True", "IncompleteRead")
    bucket.objects[raw] = whole
    await cluster.advance(1_000)
    assert cluster.condition(gone, "Ready") == ("True", "Succeeded")
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert cluster.condition(key, "Failed") is None


async def test_aws_away_and_back(cluster: Cluster) -> None:
    await stream(cluster)
    cluster.cloud.fault = lambda call: Unavailable("away") if call.startswith("objects") else None
    key = cluster.apply(VERSION)
    await cluster.settle()
    assert cluster.condition(key, "Reconciling") == ("True", "AWSUnavailable")
    cluster.cloud.fault = lambda _: None
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
