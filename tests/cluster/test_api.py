"""pik's client on a real API server: its answers come through whole, its failures as pik's own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from kubernetes.client import Configuration

from cluster.handle import Cluster
from clusters_for_tests import Kubectl
from pik.aws.system import ThreadOffload
from pik.cluster.api import APPLY_PATCH, KubeApi, Object, configuration
from pik.cluster.errors import (
    KubeConflict,
    KubeDenied,
    KubeExpired,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)

_PATIENCE = 30.0  # seconds; far more than anything here needs


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@contextmanager
def client_by(kubeconfig: Path) -> Iterator[KubeApi]:
    """A client of its own."""
    threads, watching = ThreadOffload(4), ThreadOffload(2)
    yield KubeApi(configuration(kubeconfig), threads, watching, 4)
    threads.close()
    watching.close()


@contextmanager
def client_at(cluster: Cluster, server: str, kubeconfig: Path) -> Iterator[KubeApi]:
    """A client of the same server by another address. `kubeconfig`: is written."""
    config = json.loads(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = server
    kubeconfig.write_text(json.dumps(config))
    with client_by(kubeconfig) as api:
        yield api


async def test_what_is_created_is_read_replaced_and_deleted(kube_api: KubeApi, kube_namespace: str) -> None:
    made = await kube_api.create(maps(kube_namespace), config_map("one", text="ünï → ✓"))
    path = f"{maps(kube_namespace)}/one"
    assert await kube_api.get(path) == made
    made["data"] = {"text": "other"}
    changed = await kube_api.replace(path, made)
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    listed = await kube_api.get(maps(kube_namespace), fieldSelector="metadata.name=one")
    assert [one["data"] for one in listed["items"]] == [{"text": "other"}]
    await kube_api.delete(path)
    with pytest.raises(KubeNotFound, match='configmaps "one" not found'):
        await kube_api.get(path)
    with pytest.raises(KubeNotFound):
        await kube_api.delete(path)


async def test_a_kind_that_is_not_served_is_not_found(kube_api: KubeApi) -> None:
    with pytest.raises(KubeNotFound):
        await kube_api.get("/apis/no.such.group/v1/things")


async def test_an_old_version_and_a_taken_name_are_conflicts(kube_api: KubeApi, kube_namespace: str) -> None:
    made = await kube_api.create(maps(kube_namespace), config_map("one"))
    path = f"{maps(kube_namespace)}/one"
    await kube_api.replace(path, {**made, "data": {"by": "another"}})
    with pytest.raises(KubeConflict, match="modified"):
        await kube_api.replace(path, {**made, "data": {"by": "us"}})
    with pytest.raises(KubeConflict, match="already exists"):
        await kube_api.create(maps(kube_namespace), config_map("one"))
    uid = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "not-that-one"}}
    with pytest.raises(KubeConflict):
        await kube_api.delete(path, uid)
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"by": "us"}}
    with pytest.raises(KubeConflict):
        await kube_api.patch(path, stale)
    assert (await kube_api.get(path))["data"] == {"by": "another"}


async def test_a_merge_patch_changes_only_what_it_names(kube_api: KubeApi, kube_namespace: str) -> None:
    await kube_api.create(maps(kube_namespace), config_map("one", a="1", b="2"))
    patched = await kube_api.patch(f"{maps(kube_namespace)}/one", {"data": {"a": None, "c": "3"}})
    assert patched["data"] == {"b": "2", "c": "3"}


async def test_server_side_apply_owns_fields(kube_api: KubeApi, kube_namespace: str) -> None:
    path = f"{maps(kube_namespace)}/one"
    await kube_api.patch(path, config_map("one", a="1"), APPLY_PATCH, fieldManager="first")
    with pytest.raises(KubeConflict, match='conflict with "first"'):
        await kube_api.patch(path, config_map("one", a="2"), APPLY_PATCH, fieldManager="second")
    forced = await kube_api.patch(
        path, config_map("one", a="2"), APPLY_PATCH, fieldManager="second", force="true"
    )
    assert forced["data"] == {"a": "2"}


async def test_a_dry_run_keeps_nothing(
    kube_api: KubeApi, kube_namespace: str, control_plane: Cluster
) -> None:
    await kube_api.create(maps(kube_namespace), config_map("one"), dryRun="All")
    with pytest.raises(KubeNotFound):
        await kube_api.get(f"{maps(kube_namespace)}/one")
    mine = [one for one in control_plane.requests() if one.namespace == kube_namespace and one.name == "one"]
    assert [(one.user, one.verb, one.resource, one.dry_run, one.code) for one in mine] == [
        ("admin", "create", "configmaps", True, 201),
        ("admin", "get", "configmaps", False, 404),
    ]


async def test_who_lacks_the_right_is_denied(control_plane: Cluster, kube_namespace: str) -> None:
    with client_by(control_plane.kubeconfig_for("jane", ["team-a"])) as jane:
        with pytest.raises(KubeDenied, match='"jane" cannot list resource "configmaps"'):
            await jane.get(maps(kube_namespace))
        with pytest.raises(KubeDenied):
            async for _ in jane.watch(maps(kube_namespace), ""):
                pass


async def test_who_is_unknown_is_denied(control_plane: Cluster, kube_namespace: str, tmp_path: Path) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "made-up"}
    (tmp_path / "nobody").write_text(json.dumps(config))
    with client_by(tmp_path / "nobody") as nobody, pytest.raises(KubeDenied):
        await nobody.get(maps(kube_namespace))


def test_who_acts_as_another_is_refused(control_plane: Cluster, tmp_path: Path) -> None:
    """The official client would not say so to the server: pik would act as the administrator."""
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] |= {"as": "jane", "as-groups": ["team-a"]}
    (tmp_path / "jane").write_text(json.dumps(config))
    with pytest.raises(KubeUnavailable, match="acts as another user"):
        configuration(tmp_path / "jane")


async def test_a_service_account_is_known_by_its_token(control_plane: Cluster, kube_namespace: str) -> None:
    config = control_plane.kubeconfig_of(kube_namespace, "default")
    who = f"system:serviceaccount:{kube_namespace}:default"
    with client_by(config) as pod, pytest.raises(KubeDenied, match=who):
        await pod.get(maps(kube_namespace))


async def test_what_no_schema_allows_is_invalid(kube_api: KubeApi, kube_namespace: str) -> None:
    streams = f"/apis/pik.dev/v1alpha1/namespaces/{kube_namespace}/capturestreams"
    stream = {"apiVersion": "pik.dev/v1alpha1", "kind": "CaptureStream", "metadata": {"name": "Not A Name"}}
    with pytest.raises(KubeInvalid, match=r"metadata\.name"):
        await kube_api.create(streams, {**stream, "spec": {}})
    with pytest.raises(KubeInvalid, match=r"spec\.suspend"):
        await kube_api.create(streams, {**stream, "metadata": {"name": "one"}, "spec": {"suspend": "maybe"}})
    with pytest.raises(KubeInvalid):
        await kube_api.create(maps(kube_namespace), {"kind": "Secret"})


async def test_a_watch_tells_of_every_change(kube_api: KubeApi, kube_namespace: str) -> None:
    path = maps(kube_namespace)
    since = (await kube_api.get(path))["metadata"]["resourceVersion"]
    made = await kube_api.create(path, config_map("one", a="1"))
    watch = kube_api.watch(path, since, fieldSelector="metadata.name=one")
    first = await asyncio.wait_for(anext(watch), _PATIENCE)
    assert first == {"type": "ADDED", "object": made}
    await kube_api.patch(f"{path}/one", {"data": {"a": "2" * 300_000}})  # of many parts on the wire
    second = await asyncio.wait_for(anext(watch), _PATIENCE)
    assert (second["type"], len(second["object"]["data"]["a"])) == ("MODIFIED", 300_000)
    await kube_api.delete(f"{path}/one")
    assert (await asyncio.wait_for(anext(watch), _PATIENCE))["type"] == "DELETED"
    await watch.aclose()


async def test_a_watch_ends_when_the_api_server_ends_it(
    kube_api: KubeApi, kube_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pik.cluster.api._WATCH_SECONDS", 1)
    since = (await kube_api.get(maps(kube_namespace)))["metadata"]["resourceVersion"]
    async with asyncio.timeout(_PATIENCE):
        seen = [one["type"] async for one in kube_api.watch(maps(kube_namespace), since)]
    assert set(seen) <= {"ADDED", "BOOKMARK"}  # the root certificate, perhaps


async def test_a_watch_has_bookmarks(kube_api: KubeApi, kube_namespace: str) -> None:
    await kube_api.create(maps(kube_namespace), config_map("one"))
    # with the initial events the API server sends a bookmark at once, otherwise about every minute
    watch = kube_api.watch(
        maps(kube_namespace), "", sendInitialEvents="true", resourceVersionMatch="NotOlderThan"
    )
    seen = [await asyncio.wait_for(anext(watch), _PATIENCE)]
    while seen[-1]["type"] != "BOOKMARK":
        seen.append(await asyncio.wait_for(anext(watch), _PATIENCE))
    assert {one["type"] for one in seen[:-1]} == {"ADDED"}
    assert int(seen[-1]["object"]["metadata"]["resourceVersion"]) > 0
    await watch.aclose()


async def test_a_watch_from_too_long_ago_has_expired(kube_api: KubeApi) -> None:
    """From before there was such a kind."""
    with pytest.raises(KubeExpired, match="too old resource version"):
        async for _ in kube_api.watch("/apis/pik.dev/v1alpha1/capturestreams", "1"):
            pass


async def test_a_list_from_a_forgotten_page_has_expired(kube_api: KubeApi) -> None:
    with pytest.raises((KubeExpired, KubeInvalid)):
        await kube_api.get("/api/v1/namespaces", limit="1", **{"continue": "made-up"})


async def test_a_watch_that_is_given_up_frees_its_thread(kube_api: KubeApi, kube_namespace: str) -> None:
    """Of four threads; a read that went on would hold one for a minute."""
    path = maps(kube_namespace)
    since = (await kube_api.get(path))["metadata"]["resourceVersion"]

    async def look() -> None:
        async for _ in kube_api.watch(path, since, fieldSelector="metadata.name=none"):
            pass

    async with asyncio.timeout(_PATIENCE):
        for _ in range(6):
            looking = asyncio.ensure_future(look())
            done, _ = await asyncio.wait([looking], timeout=0.2)  # it watches
            assert not done
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await kube_api.create(path, config_map("one"))
        watch = kube_api.watch(path, since)
        assert (await anext(watch))["object"]["metadata"]["name"]
        await watch.aclose()


async def drain(watch: AsyncIterator[Object]) -> None:
    async for _ in watch:
        pass


class Line:
    """A line to the API server that can be cut."""

    def __init__(self, server: str, listen: str = "127.0.0.1") -> None:
        self._listen = listen
        self._host, self._port = server.removeprefix("https://").split(":")
        self._ends: list[asyncio.StreamWriter] = []
        self.limit = 1 << 40  # bytes of answers that come through

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, self._listen, 0)
        try:
            yield f"https://{self._listen}:{server.sockets[0].getsockname()[1]}"
        finally:
            self.cut()
            server.close()
            await server.wait_closed()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        self._ends += [writer, far_writer]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
            while part := await source.read(65_536):
                sink.write(part)
                await sink.drain()
                if answers:
                    self.limit -= len(part)
                    if self.limit < 0:
                        self.cut()
                        return

        await asyncio.gather(
            pump(reader, far_writer, False), pump(far_reader, writer, True), return_exceptions=True
        )
        writer.transport.abort()
        far_writer.transport.abort()


async def test_a_watch_whose_connection_breaks_is_unavailable(
    control_plane: Cluster, kube_api: KubeApi, kube_namespace: str, tmp_path: Path
) -> None:
    line = Line(kube_api.server)
    path = maps(kube_namespace)
    async with line.open() as address:
        with client_at(control_plane, address, tmp_path / "config") as api:
            since = (await api.get(path))["metadata"]["resourceVersion"]
            await api.create(path, config_map("one"))
            watch = api.watch(path, since)
            await asyncio.wait_for(anext(watch), _PATIENCE)
            line.cut()
            with pytest.raises(KubeUnavailable, match="watch"):
                await asyncio.wait_for(drain(watch), _PATIENCE)


async def test_an_answer_that_breaks_off_is_unavailable(
    control_plane: Cluster, kube_api: KubeApi, kube_namespace: str, tmp_path: Path
) -> None:
    await kube_api.create(maps(kube_namespace), config_map("large", text="x" * 900_000))
    line = Line(kube_api.server)
    async with line.open() as address:
        with client_at(control_plane, address, tmp_path / "config") as api:
            await api.get("/version")
            line.limit = 300_000
            with pytest.raises(KubeUnavailable):
                await api.get(f"{maps(kube_namespace)}/large")


async def test_a_server_that_is_gone_is_unavailable(control_plane: Cluster, tmp_path: Path) -> None:
    async with Line("https://127.0.0.1:1").open() as address:
        pass  # nobody listens there any more
    with client_at(control_plane, address, tmp_path / "config") as api:
        with pytest.raises(KubeUnavailable, match="GET /version"):
            await api.get("/version")
        with pytest.raises(KubeUnavailable):
            await anext(api.watch("/api/v1/namespaces", ""))


async def test_a_server_that_is_not_who_it_should_be_is_unavailable(
    control_plane: Cluster, kube_api: KubeApi, tmp_path: Path
) -> None:
    """A failure of TLS is not the client's own exception."""
    async with Line(kube_api.server, "127.0.0.2").open() as address:  # not in its certificate
        with (
            client_at(control_plane, address, tmp_path / "config") as api,
            pytest.raises(KubeUnavailable, match="certificate"),
        ):
            await api.get("/version")


def answering(text: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    return answer


@pytest.mark.parametrize(
    ("answer", "wanted", "retry_after"),
    [
        (b"429 Too Many Requests\r\nRetry-After: 7", KubeUnavailable, 7.0),
        (b"503 Service Unavailable", KubeUnavailable, None),
        (b"502 Bad Gateway", KubeUnavailable, None),
        (b"200 OK", KubeUnavailable, None),  # a proxy's own page
    ],
)
@pytest.mark.loopback
async def test_what_a_proxy_says(answer: bytes, wanted: type[Exception], retry_after: float | None) -> None:
    page = b"<html>busy</html>"
    text = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (answer, len(page), page)
    server = await asyncio.start_server(answering(text), "127.0.0.1", 0)
    async with server:
        threads = ThreadOffload(1)
        config = Configuration()
        config.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        api = KubeApi(config, threads, threads, 1)
        with pytest.raises(wanted) as caught:
            await api.get("/version")
        threads.close()
    assert getattr(caught.value, "retry_after", None) == retry_after


async def test_kubectl_and_the_client_agree(kubectl: Kubectl, kube_api: KubeApi, kube_namespace: str) -> None:
    kubectl("create", "configmap", "one", "--from-literal=a=1", "-n", kube_namespace)
    assert (await kube_api.get(f"{maps(kube_namespace)}/one"))["data"] == {"a": "1"}
