"""A cluster's objects as commands see them. What crosses the wire is tested on a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kube.fake_api import FakeApi
from pik.api.capture_stream import CaptureStream
from pik.api.manifests import load_text
from pik.api.replay_job import ReplayJob
from pik.cli.in_cluster import ClusterShelf, NotYourself, cluster_desk
from pik.cli.shelf import NoSuchResource, NotAdmitted, NotUnderstood, StillHeld, find
from pik.cli.where import InCluster
from pik.cluster.api import APPLY_PATCH, MERGE_PATCH, Object
from pik.cluster.console import Console, Declared, MadeAnew, NotAllowed, NotInstalled
from pik.cluster.errors import KubeConflict, KubeDenied, KubeError, KubeInvalid, KubeNotFound
from pik.cluster.session import Session

STREAMS = "/apis/pik.dev/v1alpha1/namespaces/{}/capturestreams/{}"
JOBS = "/apis/pik.dev/v1alpha1/namespaces/{}/replayjobs/{}"
PLAN = "ab" * 32
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: prod, context: {cluster: c, user: u, namespace: team}}]
current-context: prod
"""
DENIED = (
    "replayjobs.pik.dev \"again\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied "
    "request: alice may not approve this plan"
)


class Server(FakeApi):
    """Which knows who asks, keeps what was applied with the query, and has lists of all namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[tuple[str, Object, dict[str, str]]] = []

    async def get(self, path: str, **query: str) -> Object:
        if path.count("/") == 4 and path.startswith("/apis/pik.dev"):  # of all namespaces
            plural = path.rpartition("/")[2]
            found = [body for at, body in sorted(self.objects.items()) if f"/{plural}/" in at]
            self._asked("GET", path)
            return {
                "apiVersion": "v1",
                "kind": "List",
                "metadata": {"resourceVersion": "1"},
                "items": found,
            }
        if path.startswith("/apis/pik.dev") and path.count("/") == 7 and path not in self.objects:
            raise KubeNotFound(path)  # an object, and not a list of them
        return await super().get(path, **query)

    async def create(self, path: str, body: Object, **query: str) -> Object:
        if path.endswith("selfsubjectreviews"):
            return {**body, "status": {"userInfo": {"username": "alice"}}}
        return await super().create(path, body, **query)

    async def patch(self, path: str, body: Object, content_type: str = MERGE_PATCH, **query: str) -> Object:
        assert content_type == APPLY_PATCH
        self._asked("PATCH", path)
        self.applied.append((path, body, query))
        if path not in self.objects:
            self.put(path, body)
        return self.objects[path]


@pytest.fixture
def server() -> Server:
    return Server()


def shelf(server: Server, where: InCluster | None = None) -> ClusterShelf:
    where = where or InCluster()
    at = Session(Console(server), "https://there", "prod", where.namespace or "team")
    return ClusterShelf(at, where)


def stream(name: str = "things", namespace: str = "team", **spec: Any) -> Object:
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"storage": {"prefix": "p"}, **spec},
    }


def job(**spec: Any) -> Object:
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "ReplayJob",
        "metadata": {"name": "again", "namespace": "team", "uid": "u"},
        "spec": {
            "streamRef": {"name": "things"},
            "select": {"window": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}},
            "target": {"type": "HTTP", "http": {"url": "http://127.0.0.1:1/x"}},
            **spec,
        },
    }


def put(server: Server, *objects: Object) -> None:
    for one in objects:
        paths = STREAMS if one["kind"] == "CaptureStream" else JOBS
        server.put(paths.format(one["metadata"]["namespace"], one["metadata"]["name"]), one)


async def names(at: ClusterShelf) -> list[str]:
    return [f"{item.key.namespace}/{item.key.name}" for item in await at.items(CaptureStream)]


async def test_the_contexts_namespace_or_the_one_named_or_all(server: Server) -> None:
    put(server, stream(), stream("others"), stream("things", "ops"))
    assert await names(shelf(server)) == ["team/others", "team/things"]
    assert await names(shelf(server, InCluster(namespace="ops"))) == ["ops/things"]
    everywhere = shelf(server, InCluster(everywhere=True))
    assert await names(everywhere) == ["ops/things", "team/others", "team/things"]
    assert everywhere.place == "all namespaces of the context prod"


async def test_an_object_by_its_name_or_its_whole_name(server: Server) -> None:
    put(server, stream(), stream("things", "ops"))
    assert (await find(shelf(server), CaptureStream, "things")).key.namespace == "team"
    assert (await find(shelf(server), CaptureStream, "ops/things")).key.namespace == "ops"
    with pytest.raises(NoSuchResource, match=r"which CaptureStream: ops/things and team/things\?"):
        await find(shelf(server, InCluster(everywhere=True)), CaptureStream, "things")
    with pytest.raises(NoSuchResource, match="no CaptureStream thongs in namespace team of the context prod"):
        await find(shelf(server), CaptureStream, "thongs")


async def test_a_cluster_without_pik(server: Server) -> None:
    server.fault = lambda _: KubeNotFound("the server could not find the requested resource")
    with pytest.raises(NotInstalled, match="knows no CaptureStream: pik is not installed in it"):
        await find(shelf(server), CaptureStream, "things")


async def test_an_object_of_another_version(server: Server) -> None:
    put(server, stream(newer={"field": 1}))
    item = await find(shelf(server), CaptureStream, "things")
    assert item.manifest["spec"]["newer"] == {"field": 1}  # it can be shown
    with pytest.raises(NotUnderstood, match=r"CaptureStream team/things is not what .*: spec\.newer"):
        item.read(CaptureStream)


async def test_a_stream_is_read_with_ones_own_rights_whatever_its_role(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(KUBECONFIG)
    role = {"roleARN": "arn:aws:iam::000000000000:role/some"}
    status = {"streamID": "5" * 32, "storage": {"bucket": "b", "prefix": "p"}, "index": {"table": "t"}}
    resource = CaptureStream.from_manifest({**stream(**role), "status": status})
    async with cluster_desk(InCluster(kubeconfig), "http://127.0.0.1:1") as desk:
        assert (await desk.open(resource)).cloud is desk.cloud
        assert desk.shelf.place == "namespace team of the context prod"


async def test_an_approval_is_in_ones_own_name(server: Server) -> None:
    put(server, job())
    at = shelf(server)
    item = await find(at, ReplayJob, "again")
    with pytest.raises(NotYourself, match="you are alice, not bob"):
        await at.approve(item, PLAN, "bob")
    assert server.applied == []
    assert await at.approve(item, PLAN, "alice") == await at.approve(item, PLAN, None) == "alice"
    path, body, query = server.applied[0]
    assert (path, query) == (JOBS.format("team", "again"), {"fieldManager": "pik-approve", "force": "true"})
    assert body["spec"] == {"approval": {"plan": PLAN, "by": "alice"}}
    assert body["metadata"] == {"name": "again", "namespace": "team", "uid": "u"}


async def test_held_and_given_back(server: Server) -> None:
    put(server, job())
    at = shelf(server)
    item = await find(at, ReplayJob, "again")
    await at.suspend(item)
    await at.resume(item)
    held, back = server.applied
    assert held[1]["spec"] == {"suspend": True}
    assert "spec" not in back[1]
    assert held[2] == back[2] == {"fieldManager": "pik-suspend", "force": "true"}


async def test_what_somebody_else_holds_stays_held(server: Server) -> None:
    fields = {"f:spec": {"f:suspend": {}}}
    manager = {"manager": "kustomize-controller", "operation": "Apply", "fieldsV1": fields}
    there = job(suspend=True)
    put(server, {**there, "metadata": {**there["metadata"], "managedFields": [manager]}})
    at = shelf(server)
    with pytest.raises(StillHeld, match="stays suspended: kustomize-controller says so"):
        await at.resume(await find(at, ReplayJob, "again"))


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (KubeDenied(DENIED), NotAllowed, "^alice may not approve this plan$"),
        (KubeInvalid(DENIED), NotAllowed, "^alice may not approve this plan$"),
        (
            KubeDenied('replayjobs.pik.dev "again" is forbidden: User "alice" cannot patch resource'),
            NotAllowed,
            '^User "alice" cannot patch resource$',
        ),
        (KubeConflict("uid mismatch"), MadeAnew, "has just gone"),
        (KubeInvalid("metadata.uid: Invalid value: field is immutable"), MadeAnew, "another object"),
    ],
)
async def test_a_refusal_is_its_reason_alone(
    server: Server, error: KubeError, raised: type[Exception], text: str
) -> None:
    put(server, job())
    at = shelf(server)
    item = await find(at, ReplayJob, "again")
    server.fault = lambda asked: error if asked.startswith("PATCH") else None
    with pytest.raises(raised, match=text):
        await at.approve(item, PLAN, None)


async def test_a_replay_is_applied_in_the_namespace(server: Server) -> None:
    (manifest,) = load_text(
        """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {name: again}
spec:
  streamRef: {name: things}
  select: {window: {from: "2026-01-01T00:00:00Z", to: "2026-01-02T00:00:00Z"}}
  target: {type: HTTP, http: {url: "http://127.0.0.1:1/x"}}
"""
    )
    at = shelf(server)
    assert (await at.apply(manifest)).change == "created"
    assert (await at.apply(manifest)).change == "unchanged"
    path, _, query = server.applied[0]
    assert (path, query) == (JOBS.format("team", "again"), {"fieldManager": "pik-replay"})
    server.fault = lambda asked: KubeConflict("conflict with flux: .spec.mode") if "PATCH" in asked else None
    with pytest.raises(Declared, match="declared by somebody else: conflict with flux"):
        await at.apply(manifest)
    server.fault = lambda asked: KubeInvalid("spec.mode: no") if "PATCH" in asked else None
    with pytest.raises(NotAdmitted, match=r"spec\.mode: no"):
        await at.apply(manifest)


async def test_events_the_latest_last_in_both_ways_to_write_them(server: Server) -> None:
    put(server, stream())
    at = shelf(server)
    meta = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    events = "/api/v1/namespaces/team/events/{}"
    old = {"type": "Normal", "reason": "Old", "message": "m", "lastTimestamp": "2026-01-01T01:00:00Z"}
    server.put(events.format("a"), {**old, "metadata": meta, "count": 3})
    series = {"count": 5, "lastObservedTime": "2026-01-01T02:00:00.000000Z"}
    server.put(events.format("b"), {"reason": "New", "message": "m", "metadata": meta, "series": series})
    server.put(events.format("c"), {"reason": "Once", "metadata": meta})
    found = await at.events(await find(at, CaptureStream, "things"))
    assert [(event.reason, event.times, event.last[11:13]) for event in found] == [
        ("Once", 1, "00"),
        ("Old", 3, "01"),
        ("New", 5, "02"),
    ]
    server.fault = lambda asked: KubeDenied("cannot list events") if asked.endswith("events") else None
    (instead,) = await at.events(await find(at, CaptureStream, "things"))
    assert instead.message == "cannot list events"


async def test_the_whole_cluster_is_asked_for_what_it_has_or_at_least_ones_own_namespace(
    server: Server,
) -> None:
    put(server, stream(), stream("things", "ops"))
    assert (await shelf(server).census()).namespace is None
    census = await shelf(server, InCluster(namespace="ops")).census()
    assert (len(census.streams), census.namespace) == (2, "ops")
    server.fault = lambda asked: KubeDenied("all?") if "/namespaces/" not in asked else None
    census = await shelf(server).census()
    assert ([item.key.namespace for item in census.streams], census.namespace) == (["team"], "team")
