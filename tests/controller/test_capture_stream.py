"""CaptureStream: from nothing to Ready, drift, loss, owners, and faults at every call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from controller.clusters import TIMING, Cluster
from controller.manifests import STREAM, event, events
from pik.api.violations import InvalidManifest
from pik.controller.objects import ObjectKey
from pik.controller.reconcilers import reconcilers
from pik.controller.stream_index import REINDEX
from pik.controller.stream_storage import TAKE_OVER_FROM
from pik.domain.errors import Denied, NotReady, PikError, Unavailable
from pik.execution.capture.capture import Capture
from pik.planning.storage import ObservedBucket


def with_spec(*lines: str) -> str:
    return STREAM + "".join(f"  {line}\n" for line in lines)


async def ready(cluster: Cluster, text: str = STREAM) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned"), cluster.status(key)
    return key


async def test_from_nothing_to_ready(cluster: Cluster) -> None:
    key = await ready(cluster)
    status = cluster.status(key)
    assert status.observedGeneration == 1
    assert cluster.kstatus(key) == "Current"
    for part in ("StorageReady", "IndexReady", "GatewayReady"):
        assert cluster.condition(key, part) == ("True", "Provisioned")
    assert status.storage.bucket in cluster.account.bucket_settings
    assert status.storage.owner == "here/default/things"
    assert status.index.table in cluster.account.table_settings
    assert status.ingestURL == "http://127.0.0.1:8000/v1/streams/default/things/events"
    assert await cluster.ingest(key, events(3)) == ["ACCEPTED"] * 3
    assert await cluster.ingest(key, events(3)) == ["DUPLICATE"] * 3


async def test_nothing_changes_where_nothing_is_to_change(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.advance(1)
    written = len(cluster.objects.written)
    applied = cluster.cloud.calls["provisioner.apply"]
    for _ in range(3):
        cluster.queue.add(key)
        await cluster.settle()
    assert cluster.cloud.calls["provisioner.apply"] == applied
    assert len(cluster.objects.written) == written


async def test_the_first_event_freezes_the_mapping(cluster: Cluster) -> None:
    mapped = with_spec(
        "mapping: {entityID: {paths: [a]}, eventTime: {paths: [t]}, eventType: {value: x},"
        " source: {value: s}}"
    )
    key = await ready(cluster, mapped)
    cluster.apply(mapped.replace("[a]", "[b]"))
    await cluster.settle()
    await cluster.ingest(key, events(1))
    await cluster.settle()  # at once, and not when the counters are due
    status = cluster.status(key)
    assert status.firstIngestTime == status.counters.lastIngestTime
    with pytest.raises(InvalidManifest, match="frozen"):
        cluster.apply(mapped.replace("[a]", "[c]"))


def looking_for_first_events(cluster: Cluster) -> None:
    """As where events come by gateways that are processes of their own."""
    cluster.world = replace(cluster.world, timing=replace(TIMING, first=10.0))
    cluster.manager.reconcilers = reconcilers(cluster.world)


async def test_a_first_event_that_comes_by_another_process_is_looked_for(cluster: Cluster) -> None:
    looking_for_first_events(cluster)
    key = await ready(cluster)
    elsewhere = Capture(cluster.opened(key).stream)  # which tells this process nothing
    await elsewhere.ingest([event(1)])
    await cluster.advance(5)
    assert cluster.status(key).firstIngestTime is None
    await cluster.advance(6)
    assert cluster.status(key).firstIngestTime is not None
    assert cluster.status(key).counters.events == 1
    await elsewhere.ingest([event(2)])
    await cluster.advance(30)
    assert cluster.status(key).counters.events == 1  # from then on as often as any
    await cluster.advance(40)
    assert cluster.status(key).counters.events == 2


async def test_many_streams_without_events_are_looked_at_no_more_often_together(cluster: Cluster) -> None:
    looking_for_first_events(cluster)
    names = [f"s{number}" for number in range(40)]
    for name in names:
        cluster.apply(STREAM.replace("name: things", f"name: {name}").replace("some", name))
    await cluster.settle()
    before = cluster.cloud.calls["index.segments"]
    for _ in range(120):
        await cluster.advance(1)
    looks = cluster.cloud.calls["index.segments"] - before
    assert 120 < looks <= 2 * 120 * 1.2


async def test_counters_are_read_once_a_minute(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(5))
    await cluster.settle()
    await cluster.ingest(key, [*events(5), event(2, amount="9")])
    await cluster.advance(30)
    assert cluster.status(key).counters.events == 5
    assert cluster.status(key).counters.duplicates == 0
    await cluster.advance(31)
    await cluster.advance(10)
    counters = cluster.status(key).counters
    assert (counters.events, counters.duplicates, counters.conflicts) == (5, 5, 1)


async def test_drift_is_repaired_and_told(cluster: Cluster) -> None:
    key = await ready(cluster)
    bucket = cluster.status(key).storage.bucket
    settings = cluster.account.bucket_settings
    settings[bucket] = msgspec.structs.replace(settings[bucket], versioning=False, tags={"foreign": "tag"})
    await cluster.advance(70)
    assert settings[bucket].versioning
    assert settings[bucket].tags["foreign"] == "tag"
    drift = cluster.status(key).drift
    assert {(one.resource, one.field, one.action) for one in drift} == {
        (bucket, "tags", "Repaired"),
        (bucket, "versioning", "Repaired"),
    }
    assert [one.reason for _, one in cluster.objects.events].count("DriftRepaired") == 2
    await cluster.advance(700)
    assert cluster.status(key).drift == drift


async def test_drift_is_reported_and_left_alone(cluster: Cluster) -> None:
    key = await ready(cluster, with_spec("driftPolicy: Report"))
    bucket = cluster.status(key).storage.bucket
    settings = cluster.account.bucket_settings
    settings[bucket] = msgspec.structs.replace(settings[bucket], versioning=False)
    await cluster.advance(70)
    assert not settings[bucket].versioning
    assert cluster.condition(key, "Stalled") == ("True", "DriftReported")
    assert cluster.kstatus(key) == "Failed"
    (drift,) = cluster.status(key).drift
    await cluster.advance(70)
    assert cluster.status(key).drift == (drift,)  # with the time of its first report
    assert await cluster.ingest(key, events(1)) == ["ACCEPTED"]  # nothing is in its way
    settings[bucket] = msgspec.structs.replace(settings[bucket], versioning=True)
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.condition(key, "Stalled") is None


async def test_a_change_of_the_spec_is_no_drift(cluster: Cluster) -> None:
    key = await ready(cluster, with_spec("driftPolicy: Report"))
    cluster.apply(with_spec("driftPolicy: Report").replace("{prefix: some}", "{prefix: some, tags: {a: b}}"))
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).drift == ()
    assert cluster.account.bucket_settings[cluster.status(key).storage.bucket].tags["a"] == "b"


@pytest.mark.parametrize("policy", ["Report", "Repair"])
@pytest.mark.parametrize("refused", ["provisioner.table", "provisioner.apply"])
async def test_what_was_refused_at_first_is_no_drift(cluster: Cluster, policy: str, refused: str) -> None:
    """Also when AWS was away in between."""
    failing: list[str] = [refused]
    error: PikError = Denied("may not")
    if refused == "provisioner.apply":  # of a table, where the bucket is there
        await ready(cluster)
        cluster.account.drop_table(next(iter(cluster.account.table_settings)))
        cluster.delete(ObjectKey("CaptureStream", "default", "things"))
        await cluster.settle()
    cluster.cloud.fault = lambda call: error if call in failing else None
    key = cluster.apply(with_spec(f"driftPolicy: {policy}"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AWSRefused")
    failing, error = ["provisioner.bucket"], Unavailable("away")
    await cluster.advance(70)
    assert cluster.condition(key, "StorageReady") == ("Unknown", "AWSUnavailable")
    cluster.cloud.fault = lambda _: None
    await cluster.advance(130)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).drift == ()
    assert not [one for _, one in cluster.objects.events if one.reason.startswith("Drift")]


@pytest.mark.parametrize("policy", ["Report", "Repair"])
@pytest.mark.parametrize(
    "change", ["{prefix: some, tags: {a: b}}", "{prefix: some, retentionDays: 3, deletionPolicy: Delete}"]
)
async def test_a_change_of_the_spec_that_was_refused_at_first_is_no_drift(
    cluster: Cluster, policy: str, change: str
) -> None:
    key = await ready(cluster, with_spec(f"driftPolicy: {policy}"))
    cluster.cloud.fault = lambda call: Denied("may not") if call == "provisioner.apply" else None
    cluster.apply(with_spec(f"driftPolicy: {policy}").replace("{prefix: some}", change))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AWSRefused")
    assert cluster.status(key).observedGeneration == 2
    cluster.cloud.fault = lambda _: None
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).drift == ()


async def test_drift_that_is_found_after_an_outage_is_drift_all_the_same(cluster: Cluster) -> None:
    key = await ready(cluster, with_spec("driftPolicy: Report"))
    bucket = cluster.status(key).storage.bucket
    cluster.cloud.fault = lambda _: Unavailable("away")
    await cluster.advance(70)
    assert cluster.condition(key, "StorageReady") == ("Unknown", "AWSUnavailable")
    settings = cluster.account.bucket_settings
    settings[bucket] = msgspec.structs.replace(settings[bucket], versioning=False)
    cluster.account.drop_table(cluster.status(key).index.table)
    cluster.cloud.fault = lambda _: None
    await cluster.advance(61)
    assert cluster.condition(key, "Stalled") == ("True", "DriftReported")
    assert {one.field for one in cluster.status(key).drift} == {"versioning", "table"}
    assert not settings[bucket].versioning


async def test_a_deleted_table_is_rebuilt_from_raw(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(5))
    cluster.account.drop_table(cluster.status(key).index.table)
    with pytest.raises(NotReady):
        await cluster.ingest(key, events(1))
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    reasons = [status for _, status in cluster.objects.written]
    assert any(
        one.type == "IndexReady" and one.reason == "Reindexing" for s in reasons for one in s.conditions
    )
    assert await cluster.ingest(key, events(5)) == ["DUPLICATE"] * 5


async def test_a_table_that_is_only_reported_missing_takes_no_events(cluster: Cluster) -> None:
    key = await ready(cluster, with_spec("driftPolicy: Report"))
    cluster.account.drop_table(cluster.status(key).index.table)
    await cluster.advance(70)
    assert cluster.condition(key, "Stalled") == ("True", "DriftReported")
    assert cluster.condition(key, "IndexReady") == ("False", "DriftReported")


async def test_a_bucket_that_vanished_is_not_made_anew(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(2))
    bucket = cluster.status(key).storage.bucket
    cluster.account.drop_bucket(bucket)
    await cluster.advance(70)
    assert cluster.condition(key, "Stalled") == ("True", "DataLost")
    assert cluster.condition(key, "StorageReady") == ("False", "DataLost")
    assert bucket not in cluster.account.bucket_settings
    with pytest.raises(NotReady):
        cluster.workshop.door("default", "things")  # it is there, and takes nothing
    assert cluster.workshop.door("default", "others") is None


@pytest.mark.parametrize("kept", [True, False])
async def test_a_bucket_that_is_emptied_is_no_new_stream(cluster: Cluster, kept: bool) -> None:
    """With its tags or without them: what is not there is lost, and not made anew under another id."""
    key = await ready(cluster)
    await cluster.ingest(key, events(2))
    bucket = cluster.status(key).storage.bucket
    stream_id = cluster.status(key).streamID
    cluster.account.bucket(bucket).objects.clear()
    if not kept:
        cluster.account.bucket_settings[bucket] = ObservedBucket()
    await cluster.advance(70)
    assert cluster.condition(key, "Stalled") == ("True", "DataLost")
    assert cluster.status(key).streamID == stream_id
    assert not cluster.account.bucket(bucket).objects


async def test_a_bucket_of_somebody_else_is_not_touched(cluster: Cluster) -> None:
    cluster.account.bucket_settings["theirs"] = ObservedBucket(tags={"team": "others"})
    cluster.account.bucket("theirs").exists = True
    key = cluster.apply(STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: theirs}}"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "BucketTaken")
    assert cluster.account.bucket_settings["theirs"] == ObservedBucket(tags={"team": "others"})


async def test_a_bucket_to_adopt_that_is_not_there(cluster: Cluster) -> None:
    adopting = STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: theirs, origin: Adopt}}")
    key = cluster.apply(adopting)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "BucketNotFound")
    cluster.account.bucket_settings["theirs"] = ObservedBucket()
    cluster.account.bucket("theirs").exists = True
    await cluster.advance(70)
    assert cluster.condition(key, "Stalled") == (
        "True",
        "InvalidSpec",
    )  # versioning is off, and not ours to set
    cluster.account.bucket_settings["theirs"] = ObservedBucket(versioning=True)
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")


async def test_a_second_owner_is_refused_and_may_take_over_by_name(cluster: Cluster, tmp_path: Path) -> None:
    key = await ready(cluster, STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: shared}}"))
    await cluster.ingest(key, events(4))
    stream_id = cluster.status(key).streamID
    await cluster.stop()
    there = Cluster(tmp_path / "there", name="there", account=cluster.account)
    text = STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: shared}}")
    other = there.apply(text)
    await there.settle()
    assert there.condition(other, "Stalled") == ("True", "OwnershipConflict")
    (stalled,) = [one for one in there.status(other).conditions if one.type == "Stalled"]
    assert "here/default/things" in stalled.message
    annotated = f"{{name: things, annotations: {{{TAKE_OVER_FROM}: here/default/things}}}}"
    there.apply(text.replace("{name: things}", annotated))
    await there.settle()
    assert there.condition(other, "Ready") == ("True", "Provisioned")
    assert there.status(other).streamID == stream_id
    assert await there.ingest(other, events(4)) == ["DUPLICATE"] * 4
    # the old one finds that it is the owner no longer
    cluster.start()
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "OwnershipConflict")
    await there.stop()


async def test_what_aws_refuses_stalls_and_heals(cluster: Cluster) -> None:
    cluster.cloud.fault = lambda call: Denied("no") if call == "provisioner.bucket" else None
    key = cluster.apply(STREAM)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AWSRefused")
    cluster.cloud.fault = lambda _: None
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")


async def test_aws_away_and_back(cluster: Cluster) -> None:
    key = await ready(cluster)
    cluster.cloud.fault = lambda _: Unavailable("no route")
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("False", "AWSUnavailable")
    assert cluster.condition(key, "Reconciling") == ("True", "AWSUnavailable")
    assert cluster.condition(key, "StorageReady") == ("Unknown", "AWSUnavailable")
    assert cluster.workshop.door("default", "things") is not None  # who sends is told by the writer itself
    tries = cluster.cloud.calls["provisioner.bucket"]
    for _ in range(20):
        await cluster.advance(30)
    assert 5 < cluster.cloud.calls["provisioner.bucket"] - tries <= 20
    cluster.cloud.fault = lambda _: None
    await cluster.advance(61)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.condition(key, "StorageReady") == ("True", "Provisioned")


async def test_suspended_takes_nothing_and_can_be_read(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(2))
    cluster.apply(with_spec("suspend: true"))
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("False", "Suspended")
    assert cluster.condition(key, "GatewayReady") == ("False", "Suspended")
    assert cluster.condition(key, "Reconciling") is None
    cluster.account.drop_table(cluster.status(key).index.table)
    calls = cluster.cloud.calls.total()
    await cluster.advance(1_000)
    assert cluster.cloud.calls.total() == calls
    with pytest.raises(NotReady):  # later, not never: a producer must not drop its events
        cluster.workshop.door("default", "things")
    cluster.apply(STREAM)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert await cluster.ingest(key, events(2)) == ["DUPLICATE"] * 2


async def test_entries_never_expire_before_their_events(cluster: Cluster) -> None:
    """Entries carry their own time to live: where events are kept longer from now on, they are made anew."""
    key = await ready(cluster, STREAM.replace("{prefix: some}", "{prefix: some, retentionDays: 1}"))
    await cluster.ingest(key, events(2))
    table = cluster.status(key).index.table

    async def kept() -> tuple[str, int]:
        observed = await cluster.cloud.provisioner(None).table(table)
        assert observed is not None
        state = await cluster.opened(key).stream.index.generation()
        assert state is not None
        return observed.tags["pik.dev/retention-days"], state.number

    assert await kept() == ("1", 1)
    cluster.apply(STREAM.replace("{prefix: some}", "{prefix: some, retentionDays: 5}"))
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert await kept() == ("5", 2)
    cluster.apply(STREAM.replace("{prefix: some}", "{prefix: some, retentionDays: 3}"))
    await cluster.settle()
    assert (await kept())[1] == 2
    assert await cluster.ingest(key, events(2)) == ["DUPLICATE"] * 2


async def test_an_index_is_built_anew_when_it_is_asked_for(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(3))
    generations = [
        name
        for name in cluster.account.bucket(cluster.status(key).storage.bucket).objects
        if "generations/" in name
    ]
    cluster.clock.advance(100)
    asked = STREAM.replace(
        "{name: things}", f"{{name: things, annotations: {{{REINDEX}: '{cluster.clock.now().text}'}}}}"
    )
    cluster.clock.advance(100)
    cluster.apply(asked)
    await cluster.settle()
    await cluster.advance(100)
    now = [
        name
        for name in cluster.account.bucket(cluster.status(key).storage.bucket).objects
        if "generations/" in name
    ]
    assert len(now) == len(generations) + 1  # once, however often it is looked at
    assert await cluster.ingest(key, events(3)) == ["DUPLICATE"] * 3


async def test_deletion_keeps_what_was_captured(cluster: Cluster) -> None:
    key = await ready(cluster)
    await cluster.ingest(key, events(2))
    bucket, table = cluster.status(key).storage.bucket, cluster.status(key).index.table
    cluster.delete(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    assert cluster.account.bucket(bucket).objects
    assert table in cluster.account.table_settings
    assert cluster.workshop.find(key) is None
    again = await ready(cluster)  # adopted: the same stream
    assert await cluster.ingest(again, events(2)) == ["DUPLICATE"] * 2


async def test_deletion_by_policy_removes_what_pik_made(cluster: Cluster) -> None:
    text = STREAM.replace("{prefix: some}", "{prefix: some, deletionPolicy: Delete}")
    key = await ready(cluster, text)
    await cluster.ingest(key, events(2))
    bucket, table = cluster.status(key).storage.bucket, cluster.status(key).index.table
    cluster.cloud.fault = lambda call: Unavailable("away") if call == "provisioner.delete_bucket" else None
    cluster.delete(key)
    await cluster.settle()
    assert key in cluster.objects.there
    cluster.cloud.fault = lambda _: None
    await cluster.advance(61)
    assert key not in cluster.objects.there
    assert bucket not in cluster.account.bucket_settings
    assert table not in cluster.account.table_settings


async def test_deletion_by_policy_spares_what_another_has_taken_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    text = STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: shared}, deletionPolicy: Delete}")
    key = await ready(cluster, text)
    there = Cluster(tmp_path / "there", name="there", account=cluster.account)
    annotated = f"{{name: things, annotations: {{{TAKE_OVER_FROM}: here/default/things}}}}"
    await ready(there, text.replace("{name: things}", annotated))
    cluster.delete(key)
    await cluster.settle()
    assert "shared" in cluster.account.bucket_settings
    assert cluster.condition(key, "Stalled") == ("True", "OwnershipConflict")
    await there.stop()


async def test_a_rebuild_of_somebody_else_is_left_alone_while_it_shows_life(cluster: Cluster) -> None:
    key = await ready(cluster)
    opened = cluster.opened(key)
    await opened.stream.index.fence(2, "another's")  # and then it died
    await cluster.advance(65)
    assert cluster.condition(key, "IndexReady") == ("False", "Reindexing")
    state = await opened.stream.index.generation()
    assert state is not None
    assert (state.nonce, state.ready) == ("another's", False)
    await cluster.advance(70)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")


@pytest.mark.parametrize("error", [Unavailable("lost"), Denied("no")])
async def test_a_fault_at_any_call_heals(tmp_path: Path, error: PikError) -> None:
    """From nothing to Ready with the n-th call failing, for every n."""
    undisturbed = Cluster(tmp_path / "undisturbed")
    await ready(undisturbed)
    calls = undisturbed.cloud.calls.total()
    assert calls > 20
    for number in range(calls):
        cluster = Cluster(tmp_path / str(number))
        seen = 0

        def fault(_: str, number: int = number) -> PikError | None:
            nonlocal seen
            seen += 1
            return error if seen == number + 1 else None

        cluster.cloud.fault = fault
        key = cluster.apply(STREAM)
        await cluster.settle()
        for _ in range(3):
            await cluster.advance(70)
        assert cluster.condition(key, "Ready") == ("True", "Provisioned"), f"call {number}"
        assert len(cluster.account.bucket_settings) == 1
        assert len(cluster.account.table_settings) == 1
        await cluster.stop()
