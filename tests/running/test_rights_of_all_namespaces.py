"""What a release that watches all namespaces may do besides, and its gateway: each right is used, by the API
server's own log, and without it something is missing. On a control plane that nobody shares."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from chart.conftest import cluster
from chart.rendering import Manifest
from cluster.handle import Cluster
from clusters_for_tests import with_crds
from gateway.processes import GatewayProcess, event, send
from pik.cluster.api import Object
from running.process import OperatorProcess
from running.rights import Right, manifests, rights_of, without
from running.scene import Ground, until
from running.specs import job_spec, stream_spec

__all__ = ["cluster"]

_ELSEWHERE, _HOME, _INSTALLED = "elsewhere", "home", "pik"
_CONTROL_PLANE = "192.0.2.7"  # where the Service of the API server leads to, in this test


@dataclass
class Release:
    """An operator and a gateway with the chart's rights. `given`: their manifests, which `grant` applies."""

    cluster: Cluster
    endpoint: str
    scratch: Path
    given: list[Manifest]
    operators: list[OperatorProcess] = field(default_factory=list)
    gateways: list[GatewayProcess] = field(default_factory=list)

    def grant(self, given: list[Manifest]) -> None:
        text = yaml.safe_dump_all(given)
        self.cluster.kubectl("apply", "-f", "-", stdin=text)

    async def operator(self) -> OperatorProcess:
        """Another one; the one before is ended."""
        for earlier in self.operators:
            await earlier.stop()
        made = OperatorProcess(
            self.cluster.kubeconfig_of(_INSTALLED, "pik-operator"),
            self.endpoint,
            self.scratch / "operator.log",
            options=("--cluster", "all", "--namespace", _INSTALLED),
        )
        self.operators.append(made)
        await made.start()
        return made

    def gateway(self) -> GatewayProcess:
        """Another one; the one before is killed."""
        for earlier in self.gateways:
            earlier.kill()
        where = ("--kubeconfig", self.cluster.kubeconfig_of(_INSTALLED, "pik-gateway"))
        log = self.scratch / f"gateway-{len(self.gateways)}.log"
        more = ("--endpoint-url", self.endpoint, "--cluster", "all")
        made = GatewayProcess(log, {}, *where, *more)
        self.gateways.append(made)
        return made

    def apply(self, kind: str, namespace: str, name: str, spec: Object) -> None:
        meta = {"name": name, "namespace": namespace}
        body = {"apiVersion": "pik.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    async def reasons(self, namespace: str, name: str) -> dict[str, str]:
        """Of a ReplayJob's conditions, with their messages."""
        text = await asyncio.to_thread(
            self.cluster.kubectl, "get", "replayjob", name, "-n", namespace, "-o", "json"
        )
        found = json.loads(text).get("status", {}).get("conditions", [])
        return {each["reason"]: each["message"] for each in found}

    async def until_reason(self, namespace: str, name: str, *wanted: str) -> str:
        """The first of these reasons that it has."""
        met: list[str] = []

        async def holds() -> bool:
            met[:] = [each for each in await self.reasons(namespace, name) if each in wanted]
            return bool(met)

        await until(f"{name} is {wanted}", holds)
        return met[0]

    async def answer(self, gateway: GatewayProcess, stream: str, token: str) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            url = f"{gateway.url}/v1/streams/{_HOME}/{stream}/events"
            return (await send(client, url, [event("x")], token)).status_code

    async def until_answer(self, gateway: GatewayProcess, stream: str, token: str, status: int) -> None:
        async def holds() -> bool:
            return await self.answer(gateway, stream, token) == status

        await until(f"{stream} is answered {status}", holds)


@pytest.fixture
async def release(ground: Ground, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Release]:
    with_crds(cluster)
    for name in (_INSTALLED, _HOME, _ELSEWHERE):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", _ELSEWHERE, "team=shop")
    slice_of_it = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [_CONTROL_PLANE]}],
    }
    sender = {"kind": "ServiceAccount", "name": "sender", "namespace": _HOME}
    api = "rbac.authorization.k8s.io"
    bound: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sender", "namespace": _HOME}},
        {
            "apiVersion": f"{api}/v1",
            "kind": "Role",
            "metadata": {"name": "sender", "namespace": _HOME},
            "rules": [
                {"apiGroups": ["pik.dev"], "resources": ["capturestreams/events"], "verbs": ["create"]}
            ],
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "sender", "namespace": _HOME},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "sender"},
            "subjects": [sender],
        },
    ]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([slice_of_it, *bound]))
    given = manifests(ground.render, _INSTALLED, gateway={"enabled": True})
    made = Release(cluster, ground.endpoint, tmp_path, given)
    made.grant(given)
    yield made
    for operator in made.operators:
        await operator.kill()
    for gateway in made.gateways:
        gateway.kill()


def used(release: Release, since: int, component: str) -> set[Right]:
    user = f"system:serviceaccount:{_INSTALLED}:pik-{component}"
    return {
        Right(each.group, "/".join(filter(None, (each.resource, each.subresource))), each.verb)
        for each in release.cluster.requests(since)
        if each.user == user and each.allowed
    }


def roles(given: list[Manifest], *names: str) -> Iterator[Right]:
    return rights_of([each for each in given if each["metadata"]["name"] in names])


async def test_rights_over_all_namespaces(release: Release) -> None:
    since = release.cluster.audited()
    reviewed: dict[str, Any] = {"ingest": {"gateway": "Enabled", "auth": {"type": "TokenReview"}}}
    spec = {**stream_spec("things"), **reviewed}
    spec["access"] = {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}
    release.apply("CaptureStream", _HOME, "things", spec)
    await release.operator()
    ready = ("wait", "capturestream/things", "-n", _HOME, "--for=condition=Ready", "--timeout=120s")
    await asyncio.to_thread(release.cluster.kubectl, *ready)

    # access.from: Selector reads the labels of whoever asks
    def dry_run(name: str, **target: Any) -> None:
        wanted = {**job_spec("things", "http://127.0.0.1/q"), "mode": "DryRun", **target}
        wanted["streamRef"] = {"name": "things", "namespace": _HOME}
        release.apply("ReplayJob", _ELSEWHERE, name, wanted)

    dry_run("allowed")
    assert await release.until_reason(_ELSEWHERE, "allowed", "Planned", "KubernetesRefused") == "Planned"

    # nothing is sent to where the API server is
    hook = {"target": {"type": "HTTP", "http": {"url": f"https://{_CONTROL_PLANE}/hook"}}}
    dry_run("at-the-api-server", **hook)
    await until_refused(release, "at-the-api-server")

    # the gateway knows streams as they come, and asks who calls and what that one may
    token = release.cluster.kubectl("create", "token", "sender", "-n", _HOME, "--audience", "pik").strip()
    stranger = release.cluster.kubectl("create", "token", "default", "-n", _HOME, "--audience", "pik").strip()
    gateway = release.gateway()
    gateway.until_ready()
    assert await release.answer(gateway, "things", token) == 200
    assert await release.answer(gateway, "things", stranger) == 403
    release.apply("CaptureStream", _HOME, "later", {"storage": {"prefix": "later"}, **reviewed})
    await release.until_answer(gateway, "later", token, 200)

    gateways = {*roles(release.given, "pik-gateway", "pik-gateway-reviews")}
    assert {str(right) for right in gateways - used(release, since, "gateway")} == set()
    own = {Right("", "namespaces", "get"), Right("discovery.k8s.io", "endpointslices", "get")}
    assert own <= {*roles(release.given, "pik-operator", "pik-api-server")}
    assert {str(right) for right in own - used(release, since, "operator")} == set()

    # and without them
    for right in sorted(own):
        release.grant(without(release.given, right))
        operator = await release.operator()
        if right.resource == "namespaces":
            dry_run("without-namespaces")
            assert (
                await release.until_reason(_ELSEWHERE, "without-namespaces", "Planned", "KubernetesRefused")
                == "KubernetesRefused"
            )
        else:
            dry_run("without-slices", **hook)
            assert await release.until_reason(_ELSEWHERE, "without-slices", "Planned", "Refused") == "Planned"
            assert "kept from the API server's Service, not from where it leads to" in operator.printed()
    for right in sorted(gateways):
        release.grant(without(release.given, right))
        gateway = release.gateway()
        if right.verb == "list":
            gateway.said("watching .* is tried again")
            assert not gateway.is_ready()
        elif right.verb == "watch":
            gateway.said("watching .* is tried again")
            release.apply("CaptureStream", _HOME, "unheard", {"storage": {"prefix": "unheard"}})
            provisioned = ("wait", "capturestream/unheard", "-n", _HOME, "--for=condition=IndexReady")
            await asyncio.to_thread(release.cluster.kubectl, *provisioned, "--timeout=120s")
            assert await release.answer(gateway, "unheard", token) == 404
        else:
            gateway.until_ready()
            assert await release.answer(gateway, "things", token) == 503


async def until_refused(release: Release, name: str) -> None:
    async def holds() -> bool:
        return any("the API server" in text for text in (await release.reasons(_ELSEWHERE, name)).values())

    await until(f"{name} is refused", holds)
