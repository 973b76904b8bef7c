"""What tenants may: streams of others, approvals, roles, secrets, senders that have to be known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.clusters import Cluster, MemoryCloud
from controller.manifests import JOB, STREAM, VERSION, event, events
from pik.controller.engines import compute
from pik.controller.objects import ObjectKey
from pik.controller.world import Callers
from pik.domain.errors import KubernetesRefused, KubernetesUnavailable, NotReady, OutOfMemory
from pik.execution.aggregate.records import Answer
from pik.execution.replay.runs import read_record
from pik.memory.provisioning import MemoryAccount
from pik.memory.sink import accept
from pik.planning.memory import memory_bytes

RUN = JOB + "  mode: Run\n"
SELECTOR = STREAM + "  access: {from: Selector, selector: {matchLabels: {team: data}}}\n"
ROLE = "arn:aws:iam::123456789012:role/orders"


async def stream(cluster: Cluster, text: str = STREAM) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    if cluster.workshop.find(key) is not None:
        await cluster.ingest(key, events(6))
        await cluster.settle()
    return key


def elsewhere(text: str, name: str) -> str:
    """The object in another namespace, of the same stream."""
    moved = text.replace(f"{{name: {name}}}", f"{{name: {name}, namespace: other}}")
    return moved.replace("streamRef: {name: things}", "streamRef: {name: things, namespace: default}")


def told(cluster: Cluster, key: ObjectKey, kind: str = "Stalled") -> str:
    return next(one.message for one in cluster.status(key).conditions if one.type == kind)


def events_of(cluster: Cluster, key: ObjectKey, reason: str) -> list[str]:
    return [event.message for at, event in cluster.objects.events if at == key and event.reason == reason]


# access


@pytest.mark.parametrize(("text", "name"), [(RUN, "again"), (VERSION, "total")])
async def test_a_namespace_that_is_selected_may_refer_to_a_stream(
    cluster: Cluster, text: str, name: str
) -> None:
    """And one that is not may when it gets the labels, without the object being touched."""
    cluster.tenants.labels_of = {"other": {"team": "web"}}
    await stream(cluster, SELECTOR)
    key = cluster.apply(elsewhere(text, name))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AccessDenied")
    assert "allows its own namespace and those that its selector selects, and this is other" in told(
        cluster, key
    )
    cluster.tenants.labels_of["other"] = {"team": "data"}
    await cluster.advance(67)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


async def test_the_streams_own_namespace_needs_no_label(cluster: Cluster) -> None:
    cluster.tenants.labels_of = None
    await stream(cluster, SELECTOR)
    key = cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


async def test_where_namespaces_cannot_be_read_a_selector_allows_nobody(cluster: Cluster) -> None:
    cluster.tenants.labels_of = None
    await stream(cluster, SELECTOR)
    key = cluster.apply(elsewhere(RUN, "again"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "SelectorNotReadable")
    assert cluster.cloud.target.received == []
    cluster.apply(STREAM + "  access: {from: All}\n")
    await cluster.settle()
    await cluster.advance(67)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


# owners

ORDERS = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: orders, namespace: shop}
spec: {storage: {prefix: orders, bucket: {name: acme-orders}}}
"""
TAKEN = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: mine, namespace: NAMESPACE, annotations: {pik.dev/take-over-from: here/shop/orders}}
spec: {storage: {prefix: orders, bucket: {name: acme-orders}, deletionPolicy: Delete}}
"""


@pytest.mark.parametrize("namespace", ["mallory", "shop"])
async def test_a_living_stream_is_taken_over_by_nobody(cluster: Cluster, namespace: str) -> None:
    orders = await stream(cluster, ORDERS)
    mine = await stream(cluster, TAKEN.replace("NAMESPACE", namespace))
    assert cluster.condition(mine, "Stalled") == ("True", "OwnershipConflict")
    assert cluster.status(mine).streamID is None
    assert cluster.workshop.find(mine) is None
    cluster.delete(mine)
    await cluster.settle()
    assert mine not in cluster.objects.there
    await cluster.advance(67)
    assert cluster.condition(orders, "Ready") == ("True", "Provisioned")
    assert await cluster.ingest(orders, events(6)) == ["DUPLICATE"] * 6


async def test_a_stream_that_is_gone_is_taken_over_in_its_namespace_only(cluster: Cluster) -> None:
    orders = await stream(cluster, ORDERS)
    stream_id = cluster.status(orders).streamID
    cluster.delete(orders)
    await cluster.settle()
    theirs = await stream(cluster, TAKEN.replace("NAMESPACE", "mallory"))
    assert cluster.condition(theirs, "Stalled") == ("True", "OwnershipConflict")
    assert "belongs to here/shop/orders" in told(cluster, theirs)
    ours = await stream(cluster, TAKEN.replace("NAMESPACE", "shop"))
    assert cluster.condition(ours, "Ready") == ("True", "Provisioned")
    assert cluster.status(ours).streamID == stream_id


async def test_what_an_owner_has_no_more_is_taken_over_beside_it(cluster: Cluster) -> None:
    """As `pik orphans` advises: the owner has another bucket by now."""
    orders = await stream(cluster, ORDERS)
    cluster.delete(orders)
    await cluster.settle()
    await stream(cluster, ORDERS.replace("acme-orders", "acme-new"))
    mine = await stream(cluster, TAKEN.replace("NAMESPACE", "shop"))
    assert cluster.condition(mine, "Ready") == ("True", "Provisioned")


async def test_who_may_write_the_bucket_hands_a_stream_to_another_namespace(cluster: Cluster) -> None:
    orders = await stream(cluster, ORDERS)
    stream_id = cluster.status(orders).streamID
    cluster.delete(orders)
    await cluster.settle()
    store = cluster.cloud.objects("acme-orders", None)
    kept = await store.read("orders/owner.json")
    record = json.loads(kept.body) | {"namespace": "depot", "name": "parcels", "epoch": 2}
    await store.replace("orders/owner.json", json.dumps(record).encode(), kept.etag)
    parcels = await stream(
        cluster, ORDERS.replace("{name: orders, namespace: shop}", "{name: parcels, namespace: depot}")
    )
    assert cluster.condition(parcels, "Ready") == ("True", "Provisioned")
    assert cluster.status(parcels).streamID == stream_id
    assert await cluster.ingest(parcels, events(6)) == ["DUPLICATE"] * 6


# approvals


def approved(plan: str, by: str = "jane") -> str:
    return RUN + f"  approval: {{plan: {plan}, by: {by}}}\n"


async def planned(cluster: Cluster) -> tuple[ObjectKey, str]:
    """A job that waits for approval, and its plan."""
    await stream(cluster, STREAM + "  replayPolicy: {approval: Required}\n")
    key = cluster.apply(RUN)
    await cluster.settle()
    return key, cluster.status(key).plan.hash


async def test_an_approval_that_anybody_could_have_written_counts_for_nothing(cluster: Cluster) -> None:
    cluster.tenants.is_governed = False
    key, plan = await planned(cluster)
    assert cluster.condition(key, "Stalled") == ("True", "ApprovalPolicyMissing")
    cluster.apply(approved(plan))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "ApprovalPolicyMissing")
    assert cluster.condition(key, "Approved") == ("False", "ApprovalPolicyMissing")
    assert "pik-replayjob-approval is not installed" in told(cluster, key)
    assert cluster.cloud.target.received == []
    cluster.tenants.is_governed = True
    await cluster.advance(67)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert cluster.condition(key, "Approved") == ("True", "Approved")


async def test_who_approved_is_kept_with_the_run(cluster: Cluster) -> None:
    key, plan = await planned(cluster)
    assert cluster.condition(key, "Approved") == ("False", "AwaitingApproval")
    cluster.apply(approved(plan, "jane@example.com"))
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    things = ObjectKey("CaptureStream", "default", "things")
    record = await read_record(cluster.opened(things).stream, cluster.status(key).run.id)
    assert record is not None
    assert record.approved_by == "jane@example.com"
    assert events_of(cluster, key, "Approved") == [f"jane@example.com approved plan {plan[:12]}…"]


REQUIRED = "  replayPolicy: {approval: Required}\n"


async def test_an_approval_that_is_taken_away_holds_the_run_until_it_is_given_again(cluster: Cluster) -> None:
    things = await stream(cluster, STREAM + REQUIRED)
    await cluster.ingest(things, [event(number) for number in range(6, 250)])
    key = cluster.apply(RUN)
    await cluster.settle()
    plan = cluster.status(key).plan.hash
    cluster.apply_in_first_chunk(RUN)
    cluster.apply(approved(plan))
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("False", "AwaitingApproval")
    assert cluster.condition(key, "Approved") == ("False", "AwaitingApproval")
    assert told(cluster, key, "Complete").endswith("; the run that was begun is held")
    assert cluster.kstatus(key) == "Current"
    assert len(cluster.cloud.target.received) == 100  # the chunk that it had begun
    cluster.apply(approved("a" * 64))
    await cluster.settle()
    assert len(cluster.cloud.target.received) == 100
    cluster.cloud.answer = accept
    cluster.apply(approved(plan))
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert len(cluster.cloud.target.received) == 250


@pytest.mark.parametrize("heals", ["approved", "policy"])
async def test_an_owner_who_asks_for_approval_in_the_middle_is_heard(cluster: Cluster, heals: str) -> None:
    things = await stream(cluster)
    await cluster.ingest(things, [event(number) for number in range(6, 250)])
    cluster.tenants.is_governed = heals != "approved"
    cluster.apply_in_first_chunk(STREAM + REQUIRED)
    key = cluster.apply(RUN)
    await cluster.settle()
    assert len(cluster.cloud.target.received) == 100
    if heals == "approved":
        assert cluster.condition(key, "Stalled") == ("True", "ApprovalPolicyMissing")
        written = len(cluster.objects.written)
        cluster.apply(approved(cluster.status(key).plan.hash))
        await cluster.settle()
        await cluster.advance(70)
        assert cluster.condition(key, "Approved") == ("False", "ApprovalPolicyMissing")
        assert len([one for at, one in cluster.objects.written[written:] if at == key]) == 1
        cluster.tenants.is_governed = True
        await cluster.advance(200)
    else:
        assert cluster.condition(key, "Approved") == ("False", "AwaitingApproval")
        cluster.apply(STREAM)
        await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    reason = "Approved" if heals == "approved" else "WithinPolicy"
    assert cluster.condition(key, "Approved") == ("True", reason)
    assert len(cluster.cloud.target.received) == 250


async def test_an_owner_who_asks_for_no_approval_any_more_lets_the_run_begin(cluster: Cluster) -> None:
    key, _ = await planned(cluster)
    cluster.apply(STREAM)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


@pytest.mark.parametrize("asked", [True, False])
async def test_of_a_run_that_has_ended_nobody_asks_for_approval(cluster: Cluster, asked: bool) -> None:
    if asked:
        key, plan = await planned(cluster)
        cluster.apply(approved(plan))
    else:
        await stream(cluster)
        key = cluster.apply(RUN)
    await cluster.settle()
    cluster.apply(STREAM + REQUIRED)
    await cluster.settle()
    del cluster.objects.there[key]
    cluster.apply(RUN)  # as it is in Git: without an approval
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    assert cluster.condition(key, "Approved") == ("True", "Approved" if asked else "WithinPolicy")
    said = "jane approved the plan." if asked else "asked for no approval when the run began."
    assert told(cluster, key, "Approved").endswith(said)
    assert len(cluster.cloud.target.received) == 6


async def test_a_dry_run_says_that_its_approval_would_not_count(cluster: Cluster) -> None:
    cluster.tenants.is_governed = False
    await stream(cluster, STREAM + "  replayPolicy: {approval: Required}\n")
    key = cluster.apply(JOB)
    await cluster.settle()
    assert cluster.tenants.asked == []  # there is nothing to judge
    cluster.apply(JOB + f"  approval: {{plan: {cluster.status(key).plan.hash}, by: jane}}\n")
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("False", "Planned")
    assert "a run would be refused" in told(cluster, key, "Complete")
    assert cluster.condition(key, "Approved") == ("False", "ApprovalPolicyMissing")


async def test_a_stream_that_wants_no_approval_asks_nobody(cluster: Cluster) -> None:
    cluster.tenants.is_governed = False
    await stream(cluster)
    key = cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert cluster.tenants.asked == []


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (KubernetesUnavailable("away"), "Reconciling", "KubernetesUnavailable"),
        (KubernetesRefused("may not patch"), "Stalled", "KubernetesRefused"),
    ],
)
async def test_nothing_is_sent_while_nobody_can_tell(
    cluster: Cluster, error: Exception, kind: str, reason: str
) -> None:
    key, plan = await planned(cluster)
    cluster.tenants.error = error
    cluster.apply(approved(plan))
    await cluster.settle()
    assert cluster.condition(key, kind) == ("True", reason)
    assert cluster.cloud.target.received == []
    cluster.tenants.error = None
    await cluster.advance(67)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


# roles


async def test_a_stream_lives_where_its_role_works(cluster: Cluster) -> None:
    """All of it: bucket, table, events, replays. What pik itself may do is not used."""
    theirs = cluster.cloud.roles[ROLE, "default"] = MemoryCloud(MemoryAccount(), cluster.clock)
    key = await stream(cluster, STREAM + f"  roleARN: {ROLE}\n")
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    job = cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(job, "Ready") == ("True", "Succeeded")
    assert (len(theirs.account.buckets), len(theirs.account.table_settings)) == (1, 1)
    assert len(theirs.target.received) == 6
    assert (len(cluster.account.buckets), len(cluster.account.table_settings)) == (0, 0)
    assert cluster.cloud.calls.total() == 0


async def test_a_role_that_is_not_allowed_stalls_a_stream_and_closes_it(cluster: Cluster) -> None:
    theirs = cluster.cloud.roles[ROLE, "default"] = MemoryCloud(MemoryAccount(), cluster.clock)
    key = await stream(cluster, STREAM + f"  roleARN: {ROLE}\n")
    del cluster.cloud.roles[ROLE, "default"]
    await cluster.advance(67)
    assert cluster.condition(key, "Stalled") == ("True", "RoleNotAllowed")
    with pytest.raises(NotReady):
        cluster.workshop.door("default", "things")
    cluster.cloud.roles[ROLE, "default"] = theirs
    await cluster.advance(67)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert await cluster.ingest(key, events(6)) == ["DUPLICATE"] * 6


async def test_a_role_is_of_its_namespace(cluster: Cluster) -> None:
    cluster.cloud.roles[ROLE, "default"] = MemoryCloud(MemoryAccount(), cluster.clock)
    text = STREAM.replace("{name: things}", "{name: things, namespace: other}") + f"  roleARN: {ROLE}\n"
    key = await stream(cluster, text)
    assert cluster.condition(key, "Stalled") == ("True", "RoleNotAllowed")
    assert cluster.condition(key, "StorageReady") == ("False", "RoleNotAllowed")


async def test_another_role_or_another_external_id_opens_the_stream_anew(cluster: Cluster) -> None:
    account = MemoryAccount()
    cluster.cloud.roles[ROLE, "default"] = MemoryCloud(account, cluster.clock)
    key = await stream(cluster, STREAM + f"  roleARN: {ROLE}\n")
    before = cluster.opened(key)
    cluster.cloud.roles[ROLE, "default"] = MemoryCloud(account, cluster.clock)
    await cluster.advance(67)
    assert cluster.opened(key) is not before
    assert await cluster.ingest(key, events(6)) == ["DUPLICATE"] * 6


# secrets and pods


async def test_what_pik_itself_sends_has_no_secret(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(RUN.replace('/x"', '/x", secretRef: {name: endpoint}'))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "SecretNotReadable")
    assert "the Secret endpoint" in told(cluster, key)
    assert cluster.cloud.target.received == []


async def test_that_there_are_no_pods_is_said_once(cluster: Cluster) -> None:
    await stream(cluster)
    job = cluster.apply(RUN + "  execution: {serviceAccountName: worker}\n")
    version = cluster.apply(VERSION + "  execution: {memory: 1Gi, priorityClassName: high}\n")
    bounded = cluster.apply(VERSION.replace("total", "bounded") + "  execution: {memory: 1Gi}\n")
    await cluster.settle()
    await cluster.advance(700)
    for key in (job, version, bounded):
        assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert len(events_of(cluster, job, "ExecutionNotUsed")) == 1
    assert len(events_of(cluster, version, "ExecutionNotUsed")) == 1
    assert events_of(cluster, bounded, "ExecutionNotUsed") == []  # its memory is used


# who sends


@pytest.mark.parametrize("auth", ["{type: TokenReview}", "{type: Token, secretRef: {name: s}}"])
async def test_a_gateway_that_knows_nobody_takes_nothing_from_anybody(cluster: Cluster, auth: str) -> None:
    key = await stream(cluster, STREAM + f"  ingest: {{auth: {auth}}}\n")
    assert cluster.condition(key, "Stalled") == ("True", "AuthenticationUnavailable")
    assert cluster.condition(key, "GatewayReady") == ("False", "AuthenticationUnavailable")
    assert cluster.status(key).ingestURL is None
    assert cluster.workshop.door("default", "things") is None
    assert cluster.condition(key, "IndexReady") == (
        "True",
        "Provisioned",
    )  # `pik import` captures all the same
    job = cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(job, "Ready") == ("True", "Succeeded")
    cluster.apply(STREAM)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.workshop.door("default", "things") is not None


@pytest.mark.parametrize(
    ("auth", "callers", "why"),
    [
        ("{type: TokenReview}", Callers(reviews=True), None),
        ("{type: Token, secretRef: {name: s}}", Callers(tokens=frozenset({"default/s"})), None),
        ("{type: TokenReview}", Callers(tokens=frozenset({"default/s"})), "may not ask the API server"),
        ("{type: Token, secretRef: {name: s}}", Callers(reviews=True), "the token of the Secret default/s"),
        (
            "{type: Token, secretRef: {name: s}}",
            Callers(tokens=frozenset({"other/s"})),
            "the token of the Secret default/s",
        ),
    ],
)
async def test_a_gateway_knows_callers_by_the_means_that_it_has(
    tmp_path: Path, auth: str, callers: Callers, why: str | None
) -> None:
    cluster = Cluster(tmp_path, callers=callers)
    key = await stream(cluster, STREAM + f"  ingest: {{auth: {auth}}}\n")
    if why is None:
        assert cluster.condition(key, "GatewayReady") == ("True", "Provisioned")
    else:
        assert cluster.condition(key, "Stalled") == ("True", "AuthenticationUnavailable")
        assert why in told(cluster, key)
    await cluster.stop()


async def test_where_the_gateway_is_off_nobody_has_to_be_known(cluster: Cluster) -> None:
    key = await stream(cluster, STREAM + "  ingest: {gateway: Disabled, auth: {type: TokenReview}}\n")
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.condition(key, "GatewayReady") == ("False", "Disabled")


async def test_more_memory_after_out_of_memory_is_a_new_try(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[str | None] = []

    async def small(*arguments: Any, memory: str | None, **options: Any) -> Answer:
        limits.append(memory)
        if memory is not None and memory_bytes(memory) < 2**30:
            raise OutOfMemory("it needs more")
        return await compute(*arguments, memory=memory, **options)

    monkeypatch.setattr("pik.controller.computations.compute", small)
    await stream(cluster)
    key = cluster.apply(VERSION + "  execution: {memory: 100Mi}\n")
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "OutOfMemory")
    cluster.apply(VERSION + "  execution: {memory: 2Gi}\n")
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert limits == [f"{100 * 2**20}B", f"{2 * 2**30}B"]
