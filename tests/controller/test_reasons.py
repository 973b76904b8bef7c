"""Every reason that the documentation lists can be reached, by a way that a person may have to go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from controller.clusters import Cluster
from controller.feeding import in_trouble
from controller.manifests import JOB, STREAM, VERSION, event, events
from kube.job_clusters import JobCluster
from pik.api.conditions import REASONS
from pik.cluster.errors import KubeDenied
from pik.controller.computations import InProcessComputations
from pik.controller.reconcilers import reconcilers
from pik.domain.errors import (
    Denied,
    Fenced,
    Incomplete,
    KubernetesRefused,
    KubernetesUnavailable,
    Queued,
    SelectorNotReadable,
    TargetForbidden,
    Unavailable,
    WorkerFailed,
)
from pik.memory.sink import DELIVERED
from pik.planning.replay.messages import Message
from pik.planning.storage import ObservedBucket
from pik.ports.sinks import Delivery, Disposition

Scenario = Callable[[Cluster], Awaitable[None]]
RUN = JOB + "  mode: Run\n"


def failing(cluster: Cluster, error: Exception, *calls: str) -> None:
    cluster.cloud.fault = lambda call: error if any(call.startswith(one) for one in calls) else None


def whole(cluster: Cluster) -> None:
    cluster.cloud.fault = lambda _: None


async def provisioned(cluster: Cluster, text: str = STREAM, count: int = 6) -> None:
    key = cluster.apply(text)
    await cluster.settle()
    await cluster.ingest(key, events(count))
    await cluster.settle()


def forget_files(cluster: Cluster) -> None:
    for path in cluster.cache.rglob("*.parquet"):
        path.unlink()


# CaptureStream


async def streams_come_and_go(cluster: Cluster) -> None:
    await provisioned(cluster)
    cluster.apply(STREAM + "  ingest: {gateway: Disabled}\n")
    await cluster.settle()
    cluster.gateway_is_up = False
    cluster.apply(STREAM)
    await cluster.settle()
    cluster.gateway_is_up = True
    await cluster.advance(10)
    cluster.apply(STREAM + "  suspend: true\n")
    await cluster.settle()
    cluster.apply(STREAM)
    await cluster.settle()
    (table,) = cluster.account.table_settings
    cluster.account.drop_table(table)
    await cluster.advance(70)


async def storage_in_trouble(cluster: Cluster) -> None:
    for error in (Unavailable("away"), Denied("no"), Fenced("odd")):
        failing(cluster, error, "provisioner.bucket")
        cluster.apply(STREAM)
        await cluster.settle()
        await cluster.advance(70)
    whole(cluster)
    await cluster.advance(70)
    for error in (Unavailable("away"), Denied("no"), Fenced("odd")):
        failing(cluster, error, "provisioner.table")
        await cluster.advance(700)
        await cluster.advance(70)


async def drift_is_reported(cluster: Cluster) -> None:
    await provisioned(cluster, STREAM + "  driftPolicy: Report\n")
    settings = cluster.account.bucket_settings
    (bucket,) = settings
    good = settings[bucket]
    settings[bucket] = msgspec.structs.replace(good, versioning=False)
    await cluster.advance(70)
    settings[bucket] = good
    (table,) = cluster.account.table_settings
    tables = cluster.account.table_settings
    tables[table] = msgspec.structs.replace(tables[table], point_in_time_recovery=False)
    await cluster.advance(70)


async def data_is_lost(cluster: Cluster) -> None:
    await provisioned(cluster)
    (bucket,) = cluster.account.bucket_settings
    cluster.account.drop_bucket(bucket)
    await cluster.advance(70)


async def buckets_of_others(cluster: Cluster) -> None:
    def named(name: str, origin: str) -> str:
        return STREAM.replace(
            "{prefix: some}", f"{{prefix: some, bucket: {{name: {name}, origin: {origin}}}}}"
        )

    cluster.account.bucket_settings["theirs"] = ObservedBucket(tags={"team": "others"})
    cluster.account.bucket("theirs").exists = True
    cluster.apply(named("theirs", "Create").replace("name: things", "name: one"))
    cluster.apply(named("theirs", "Adopt").replace("name: things", "name: two"))
    cluster.apply(named("nobodys", "Adopt").replace("name: things", "name: three"))
    await cluster.settle()
    cluster.account.bucket_settings["theirs"] = ObservedBucket(versioning=True)
    cluster.apply(named("theirs", "Adopt").replace("name: things", "name: four"))
    await cluster.settle()
    cluster.apply(named("theirs", "Adopt").replace("name: things", "name: five"))
    await cluster.settle()


async def nobody_knows_who_sends(cluster: Cluster) -> None:
    cluster.apply(STREAM + "  ingest: {auth: {type: TokenReview}}\n")
    await cluster.settle()


async def a_role_is_not_allowed(cluster: Cluster) -> None:
    cluster.apply(STREAM + "  roleARN: arn:aws:iam::123456789012:role/theirs\n")
    await cluster.settle()


# ReplayJob


async def jobs_wait(cluster: Cluster) -> None:
    cluster.apply(JOB)
    await cluster.settle()
    failing(cluster, Unavailable("away"), "provisioner")
    cluster.apply(STREAM)
    await cluster.settle()
    whole(cluster)
    await cluster.advance(70)
    cluster.apply(STREAM + "  replayPolicy: {approval: Required}\n")
    cluster.apply(RUN)
    await cluster.settle()
    cluster.apply(RUN + "  suspend: true\n")
    await cluster.settle()
    plan = next(one for key, one in cluster.objects.there.items() if key.kind == "ReplayJob").status.plan
    cluster.apply(RUN + f"  approval: {{plan: {plan.hash}, by: somebody}}\n")  # type: ignore[union-attr]
    await cluster.settle()


async def jobs_succeed(cluster: Cluster) -> None:
    async def answer(message: Message) -> Delivery:
        bad = message.entity_id == "e1"
        return Delivery(Disposition.REFUSED, "no", "BadRequest") if bad else DELIVERED

    await provisioned(cluster)
    cluster.apply(RUN)
    await cluster.settle()
    cluster.cloud.answer = answer
    cluster.apply(RUN.replace("again", "holding") + "  onError: {action: HoldEntity}\n")
    cluster.apply(RUN.replace("again", "stopping"))
    await cluster.settle()


async def targets_are_compared(cluster: Cluster) -> None:
    await provisioned(cluster)
    copy = cluster.apply(
        STREAM.replace("{name: things}", "{name: copy}").replace("prefix: some", "prefix: copy")
    )
    await cluster.settle()
    door = f"http://127.0.0.1:8000/v1/streams/{copy.namespace}/{copy.name}"
    asking = RUN.replace("http://127.0.0.1:9/x", door) + "  verifyTarget: Enabled\n"
    cluster.apply(asking)
    cluster.apply((RUN + "  verifyTarget: Enabled\n").replace("again", "alone"))
    await cluster.settle()
    nothing = asking.replace("again", "nothing").replace("2026-02-01", "2026-02-20")
    cluster.apply(nothing.replace("verifyTarget: Enabled", "verifyTarget: Disabled"))
    await cluster.settle()
    failing(cluster, Unavailable("away"), "index.segments")
    cluster.apply(nothing)
    await cluster.settle()
    whole(cluster)
    await cluster.advance(70)


async def jobs_are_interrupted(cluster: Cluster) -> None:
    await provisioned(cluster)
    for number, error in enumerate(
        (Unavailable("away"), Denied("no"), RuntimeError("a bug"), Incomplete("a segment is gone"))
    ):
        failing(cluster, error, "index.segments")
        cluster.apply(RUN.replace("again", f"n{number}"))
        await cluster.settle()
    whole(cluster)
    failing(cluster, TargetForbidden("metadata"), "sink.send")
    cluster.apply(RUN.replace("again", "forbidden"))
    await cluster.settle()
    whole(cluster)
    cluster.apply(RUN.replace("again", "behind"))
    await cluster.settle()

    async def away(message: Message) -> Delivery:
        return Delivery(Disposition.RETRYABLE, "HTTP 503", "Unavailable")

    cluster.cloud.answer = away
    cluster.apply(RUN.replace("again", "exhausted").replace("9/x", "9/y") + "  retriesPerShard: 1\n")
    await cluster.settle()


async def jobs_are_refused(cluster: Cluster) -> None:
    await provisioned(cluster, STREAM + "  replayPolicy: {maxEvents: 1}\n")
    cluster.apply(RUN)
    await cluster.settle()
    cluster.apply(STREAM)
    own = "http://127.0.0.1:8000/v1/streams/default/things/events"
    cluster.apply(RUN.replace("again", "itself").replace("http://127.0.0.1:9/x", own))
    cluster.apply(RUN.replace("again", "odd").replace("select: {", "select: {where: 'now() > event_time', "))
    other = RUN.replace("{name: again}", "{name: again, namespace: other}")
    cluster.apply(other.replace("{name: things}", "{name: things, namespace: default}"))
    narrow = RUN.replace("again", "narrow").replace("2026-03-01T00:00:00Z", "2026-02-10T00:00:04Z")
    cluster.apply(narrow)
    await cluster.settle()
    key = next(key for key in cluster.objects.there if key.name == "again" and key.namespace == "default")
    del cluster.objects.there[key]
    cluster.apply(RUN + "  shards: 2\n")
    await cluster.settle()


async def jobs_meet_a_cluster(cluster: Cluster) -> None:
    await provisioned(cluster, STREAM + "  replayPolicy: {approval: Required}\n")
    cluster.tenants.is_governed = False
    cluster.apply(RUN)
    cluster.apply(RUN.replace('/x"', '/x", secretRef: {name: s}').replace("again", "secret"))
    await cluster.settle()
    for error in (KubernetesUnavailable("away"), KubernetesRefused("no"), WorkerFailed("image"), Queued("q")):
        cluster.tenants.error = error
        cluster.apply(RUN.replace("again", type(error).__name__.lower()))
        await cluster.settle()
    cluster.tenants.error, cluster.tenants.labels_of = None, None
    cluster.apply(STREAM + "  access: {from: Selector, selector: {matchLabels: {team: data}}}\n")
    other = RUN.replace("{name: again}", "{name: again, namespace: other}")
    cluster.apply(other.replace("{name: things}", "{name: things, namespace: default}"))
    await cluster.settle()


async def plans_change(cluster: Cluster) -> None:
    await provisioned(cluster)
    (things,) = cluster.objects.there
    cluster.apply(JOB)
    await cluster.settle()
    cluster.clock.advance(5)
    await cluster.ingest(things, [event(50)])
    cluster.apply(RUN)
    await cluster.settle()


async def raw_goes(cluster: Cluster) -> None:
    await provisioned(cluster, STREAM.replace("{prefix: some}", "{prefix: some, retentionDays: 5}"))
    for name in ("expired", "changed"):
        cluster.apply(JOB.replace("again", name) + "  onStale: Send\n")
    await cluster.settle()
    (bucket,) = cluster.account.buckets.values()
    raw = next(key for key in bucket.objects if "/raw/" in key)
    good = bucket.objects[raw]
    bucket.objects[raw] = msgspec.structs.replace(good, body=good.body[:-9] + b"x" + good.body[-8:])
    forget_files(cluster)
    cluster.apply(RUN.replace("again", "changed") + "  onStale: Send\n")
    await cluster.settle()
    bucket.objects[raw] = good
    cluster.clock.advance(10 * 86_400)
    cluster.apply(RUN.replace("again", "expired") + "  onStale: Send\n")
    await cluster.settle()


# AggregateVersion


async def versions_wait(cluster: Cluster) -> None:
    cluster.apply(VERSION)
    await cluster.settle()
    failing(cluster, Unavailable("away"), "provisioner")
    cluster.apply(STREAM)
    await cluster.settle()
    whole(cluster)
    await cluster.advance(70)
    cluster.apply(VERSION.replace("total", "held") + "  suspend: true\n")
    cluster.apply(VERSION.replace("total", "compared") + "  compareTo: {name: nobody}\n")
    await cluster.settle()


async def versions_meet_a_cluster(cluster: Cluster) -> None:
    access = "  access: {from: Selector, selector: {matchLabels: {team: data}}}\n"
    await provisioned(cluster, STREAM + access)
    other = VERSION.replace("{name: things}", "{name: things, namespace: default}")
    for error in (
        *(KubernetesUnavailable("away"), KubernetesRefused("no"), WorkerFailed("image"), Queued("q")),
        SelectorNotReadable("of a namespaced installation"),
    ):
        cluster.tenants.error = error
        name = type(error).__name__.lower()
        cluster.apply(other.replace("{name: total}", f"{{name: {name}, namespace: other}}"))
        await cluster.settle()


async def versions_fail(cluster: Cluster) -> None:
    await provisioned(cluster)
    (things,) = cluster.objects.there
    cluster.apply(VERSION.replace("total", "odd").replace("sum(payload.amount)", "sum(now())"))
    median = VERSION.replace("total", "middle").replace("sum(payload.amount)", "median(payload.amount)")
    cluster.apply(median + "  engine: Athena\n")
    await cluster.settle()
    for number, error in enumerate(
        (Unavailable("away"), Denied("no"), RuntimeError("a bug"), Incomplete("a segment is gone"))
    ):
        failing(cluster, error, "index.segments")
        cluster.clock.advance(1)
        cluster.apply(VERSION.replace("total", f"n{number}"))
        await cluster.settle()
    whole(cluster)
    other = VERSION.replace("{name: total}", "{name: total, namespace: other}")
    cluster.apply(other.replace("{name: things}", "{name: things, namespace: default}"))
    await cluster.settle()
    await cluster.ingest(things, [event(30, amount='"many"')])
    cluster.clock.advance(1)
    cluster.apply(VERSION.replace("total", "text"))
    await cluster.settle()
    unbounded, small = cluster.world, InProcessComputations(cluster.background, memory="1KB")
    cluster.manager.reconcilers = reconcilers(replace(unbounded, computations=small))
    cluster.apply(VERSION.replace("total", "large"))
    await cluster.settle()
    cluster.manager.reconcilers = reconcilers(unbounded)
    (bucket,) = cluster.account.buckets.values()
    raw = next(key for key in bucket.objects if "/raw/" in key)
    good = bucket.objects[raw]
    bucket.objects[raw] = msgspec.structs.replace(good, body=good.body[:-9] + b"x" + good.body[-8:])
    forget_files(cluster)
    cluster.apply(VERSION.replace("total", "changed"))
    await cluster.settle()


# both, where pods do the work


async def pods_are_kept_from_it(cluster: Cluster) -> None:
    assert isinstance(cluster, JobCluster)
    await provisioned(cluster)

    def queued(text: str, name: str) -> str:
        return text.replace(
            f"{{name: {name}}}", f"{{name: {name}, labels: {{kueue.x-k8s.io/queue-name: slow}}}}"
        )

    for text, name in ((RUN, "again"), (VERSION, "total")):
        cluster.apply(queued(text, name))
        await cluster.settle()
        await cluster.advance(2)
    cluster.api.fault = lambda call: KubeDenied("exceeded quota") if call.startswith("POST") else None
    cluster.apply(RUN.replace("again", "refused"))
    cluster.apply(VERSION.replace("total", "refused"))
    await cluster.settle()


SCENARIOS: tuple[Scenario, ...] = (
    streams_come_and_go,
    storage_in_trouble,
    drift_is_reported,
    data_is_lost,
    buckets_of_others,
    nobody_knows_who_sends,
    a_role_is_not_allowed,
    in_trouble,
    jobs_wait,
    jobs_succeed,
    targets_are_compared,
    jobs_are_interrupted,
    jobs_are_refused,
    jobs_meet_a_cluster,
    plans_change,
    raw_goes,
    versions_wait,
    versions_meet_a_cluster,
    versions_fail,
    pods_are_kept_from_it,
)


async def test_every_documented_reason_is_reachable(tmp_path: Path) -> None:
    seen: set[tuple[str, str, str]] = set()
    for scenario in SCENARIOS:
        kind = JobCluster if scenario is pods_are_kept_from_it else Cluster
        cluster = kind(tmp_path / scenario.__name__)
        await scenario(cluster)
        await cluster.stop()
        seen |= {
            (key.kind, one.type, one.reason)
            for key, status in cluster.objects.written
            for one in status.conditions
        }
    documented = {
        (kind, str(condition), str(reason))
        for kind, conditions in REASONS.items()
        for condition, reasons in conditions.items()
        for reason in reasons
    }
    assert sorted(seen - documented) == []
    assert sorted(documented - seen) == []
