"""The end of a CaptureStream: what goes with it, what never does, and that it does not take for ever."""

from __future__ import annotations

import pytest

from controller.clusters import Cluster
from controller.manifests import STREAM, events
from pik.controller.deletion import ABANDON
from pik.controller.objects import ObjectKey
from pik.domain.errors import Denied, PikError, Unavailable
from pik.planning.storage import ObservedBucket, ObservedTable

DELETE = STREAM.replace("{prefix: some}", "{prefix: some, deletionPolicy: Delete}")
SHARED = STREAM.replace("{prefix: some}", "{prefix: some, bucket: {name: shared}, deletionPolicy: Delete}")
_DELETION = 900.0


async def ready(cluster: Cluster, text: str = DELETE) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned"), cluster.status(key)
    await cluster.ingest(key, events(2))
    return key


def failing(cluster: Cluster, error: Exception, *calls: str) -> None:
    cluster.cloud.fault = lambda call: error if any(call.startswith(one) for one in calls) else None


def abandoned(cluster: Cluster) -> list[str]:
    return [event.message for _, event in cluster.objects.events if event.reason == "StorageAbandoned"]


def message(cluster: Cluster, key: ObjectKey, kind: str = "Ready") -> str:
    return next(one.message for one in cluster.status(key).conditions if one.type == kind)


async def until_gone(cluster: Cluster, key: ObjectKey) -> float:
    """Seconds."""
    for waited in range(0, 3_600, 30):
        if key not in cluster.objects.there:
            return waited
        await cluster.advance(30)
    raise AssertionError("it hangs")


@pytest.mark.parametrize("error", [Unavailable("no route to AWS"), Denied("may not"), RuntimeError("a bug")])
@pytest.mark.parametrize(
    "call", ["provisioner.bucket", "provisioner.delete_table", "provisioner.delete_bucket"]
)
async def test_a_deletion_heals_when_its_cause_goes(cluster: Cluster, error: Exception, call: str) -> None:
    key = await ready(cluster)
    bucket, table = cluster.status(key).storage.bucket, cluster.status(key).index.table
    failing(cluster, error, call)
    cluster.delete(key)
    await cluster.advance(300)
    assert key in cluster.objects.there
    assert str(error) in message(cluster, key)
    failing(cluster, error)
    await until_gone(cluster, key)
    assert bucket not in cluster.account.bucket_settings
    assert table not in cluster.account.table_settings
    assert abandoned(cluster) == []


@pytest.mark.parametrize("error", [Unavailable("no route to AWS"), Denied("may not")])
async def test_a_deletion_without_aws_ends_and_names_what_is_left(cluster: Cluster, error: PikError) -> None:
    key = await ready(cluster)
    bucket, table = cluster.status(key).storage.bucket, cluster.status(key).index.table
    failing(cluster, error, "provisioner", "objects")
    cluster.delete(key)
    await cluster.settle()
    assert "What is left at 2026-03-01T12:15:00Z stays" in message(cluster, key)
    assert f'the annotation {ABANDON}: "true"' in message(cluster, key)
    assert _DELETION <= await until_gone(cluster, key) <= _DELETION + 120
    (told,) = abandoned(cluster)
    assert told.startswith(f"bucket {bucket} and table {table} may be left, with what they hold: ")
    assert str(error) in told
    assert (bucket in cluster.account.bucket_settings, table in cluster.account.table_settings) == (
        True,
        True,
    )


async def test_it_is_tried_once_more_before_it_is_given_up(cluster: Cluster) -> None:
    """Also by an operator that was away all the time."""
    key = await ready(cluster)
    bucket = cluster.status(key).storage.bucket
    await cluster.stop()
    cluster.objects.mark_deleted(key)
    cluster.clock.advance(10 * _DELETION)
    cluster.start()
    await cluster.settle()
    assert key not in cluster.objects.there
    assert bucket not in cluster.account.bucket_settings
    assert abandoned(cluster) == []


@pytest.mark.parametrize("word", ["true", "yes", ""])
async def test_a_person_may_let_it_go_at_once(cluster: Cluster, word: str) -> None:
    key = await ready(cluster)
    bucket = cluster.status(key).storage.bucket
    failing(cluster, Unavailable("no route to AWS"), "provisioner")
    cluster.delete(key)
    await cluster.settle()
    resource = cluster.objects.there[key]
    meta = resource.metadata.model_copy(update={"annotations": {ABANDON: word}})
    cluster.objects.there[key] = resource.model_copy(update={"metadata": meta})  # type: ignore[assignment]
    cluster.manager.changed(key)
    calls = cluster.cloud.calls.total()
    await cluster.settle()
    assert (key in cluster.objects.there) == (word != "true")
    if word == "true":
        assert cluster.cloud.calls.total() == calls
        assert f"the annotation {ABANDON} says so" in abandoned(cluster)[0]
        assert bucket in cluster.account.bucket_settings


async def test_what_a_pass_was_interrupted_in_is_removed_all_the_same(cluster: Cluster) -> None:
    """The bucket and its owner record are there, and no status says so."""
    key = await ready(cluster)
    bucket, table = cluster.status(key).storage.bucket, cluster.status(key).index.table
    cluster.forget_status(key)
    cluster.delete(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    assert bucket not in cluster.account.bucket_settings
    assert table not in cluster.account.table_settings


async def test_a_stream_that_never_got_its_bucket_takes_nobodys(cluster: Cluster) -> None:
    cluster.account.bucket_settings["shared"] = ObservedBucket(tags={"team": "others"}, empty=False)
    cluster.account.bucket("shared").exists = True
    key = cluster.apply(SHARED)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "BucketTaken")
    cluster.delete(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    assert "shared" in cluster.account.bucket_settings
    assert abandoned(cluster) == []


async def test_a_bucket_in_which_another_stream_lives_is_left(cluster: Cluster) -> None:
    key = await ready(cluster, SHARED)
    other = STREAM.replace("name: things", "name: lodger").replace(
        "{prefix: some}", "{prefix: else/where, bucket: {name: shared, origin: Adopt}}"
    )
    lodger = await ready(cluster, other)
    cluster.delete(key)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "OwnershipConflict")
    assert "shared/else/where/ belongs to here/default/lodger" in message(cluster, key)
    await until_gone(cluster, key)
    assert "shared" in cluster.account.bucket_settings
    assert len(abandoned(cluster)) == 1
    assert await cluster.ingest(lodger, events(2)) == ["DUPLICATE"] * 2


async def test_a_file_that_looks_like_an_owners_record_owns_nothing(cluster: Cluster) -> None:
    key = await ready(cluster, SHARED)
    store = cluster.cloud.objects("shared", cluster.objects.there[key].spec.storage)  # type: ignore[union-attr]
    await store.create("pets/owner.json", b'{"name": "Rex"}')
    await store.create("pets/his-owner.json", b"{}")
    cluster.delete(key)
    await cluster.settle()
    assert "shared" not in cluster.account.bucket_settings


async def test_a_deletion_ends_where_the_owners_record_cannot_be_read(cluster: Cluster) -> None:
    key = await ready(cluster, SHARED)
    store = cluster.cloud.objects("shared", cluster.objects.there[key].spec.storage)  # type: ignore[union-attr]
    kept = await store.read("some/owner.json")
    await store.replace("some/owner.json", b"{}", kept.etag)
    cluster.delete(key)
    await cluster.settle()
    assert "some/owner.json does not say whose some/ is" in message(cluster, key)
    await until_gone(cluster, key)
    assert "shared" in cluster.account.bucket_settings
    assert len(abandoned(cluster)) == 1


async def test_a_bucket_that_somebody_made_anew_is_not_ours(cluster: Cluster) -> None:
    key = await ready(cluster, SHARED)
    cluster.account.drop_bucket("shared")
    cluster.account.bucket_settings["shared"] = ObservedBucket(tags={"team": "others"})
    cluster.account.bucket("shared").exists = True
    cluster.delete(key)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "OwnershipConflict")
    await until_gone(cluster, key)
    assert "shared" in cluster.account.bucket_settings


async def test_a_table_of_another_stream_is_not_ours(cluster: Cluster) -> None:
    key = await ready(cluster, DELETE + "  index: {tableName: entries}\n")
    bucket = cluster.status(key).storage.bucket
    cluster.account.drop_table("entries")
    cluster.account.table_settings["entries"] = ObservedTable(tags={"pik.dev/stream": "another's"})
    cluster.delete(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    assert "entries" in cluster.account.table_settings
    assert bucket not in cluster.account.bucket_settings


async def test_a_policy_that_changed_its_mind_keeps_all(cluster: Cluster) -> None:
    key = await ready(cluster)
    bucket = cluster.status(key).storage.bucket
    failing(cluster, Unavailable("no route to AWS"), "provisioner")
    cluster.delete(key)
    await cluster.settle()
    failing(cluster, Unavailable(""))
    resource = cluster.objects.there[key]
    kept = resource.model_copy(update={"spec": type(resource).from_manifest(_retained(resource)).spec})
    cluster.objects.there[key] = kept  # type: ignore[assignment]
    cluster.manager.changed(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    assert bucket in cluster.account.bucket_settings


def _retained(resource: object) -> dict[str, object]:
    spec = resource.spec.to_manifest()  # type: ignore[attr-defined]
    return {
        "metadata": {"name": "things"},
        "spec": {**spec, "storage": {**spec["storage"], "deletionPolicy": "Retain"}},
    }
