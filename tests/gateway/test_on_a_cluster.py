"""Gateways as processes, on a real API server and the emulator: several at once, killed and told to end under
load, and asking who calls."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.handle import Cluster
from gateway.processes import GatewayProcess, PikProcess, Producers, Relay, comes, event, send, until
from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.controller.aws_cloud import AwsCloud
from pik.controller.counting import Counts, Tally
from pik.controller.workshop import Place, Workshop
from pik.domain.arrivals import Outcome
from pik.execution.orphans import index_orphans
from pik.execution.verify.stream import verify

pytestmark = [pytest.mark.emulator, pytest.mark.cluster]

OPEN, RACED, ENDED, KILLED = "open", "raced", "ended", "killed"
REVIEWED, TOKENED, SLEEPING, NOT_HTTP = "reviewed", "tokened", "sleeping", "not-http"
_SPECS = {
    **{name: {} for name in (OPEN, RACED, ENDED, KILLED)},
    REVIEWED: {"ingest": {"auth": {"type": "TokenReview"}}},
    TOKENED: {"ingest": {"auth": {"type": "Token", "secretRef": {"name": "producers"}}}},
    NOT_HTTP: {"ingest": {"gateway": "Disabled"}},
}


@dataclass
class Site:
    """A namespace with streams that an operator has provisioned, and a service account for gateways."""

    cluster: Cluster
    endpoint: str
    namespace: str
    scratch: Path
    kubeconfig: Path  # of gateways
    running: list[PikProcess] = field(default_factory=list)

    def gateway(self, *words: str | Path, kubeconfig: Path | None = None) -> GatewayProcess:
        log = self.scratch / f"gateway-{len(self.running)}.log"
        made = GatewayProcess(log, {}, *self._common(kubeconfig or self.kubeconfig), *words)
        self.running.append(made)
        made.until_ready()
        return made

    def operator(self) -> None:
        log = self.scratch / "operator.log"
        words = ("operator", *self._common(self.cluster.kubeconfig), "--namespace", self.namespace)
        self.running.append(PikProcess(log, {}, *words))

    def _common(self, kubeconfig: Path) -> tuple[str | Path, ...]:
        where = ("--kubeconfig", kubeconfig, "--endpoint-url", self.endpoint)
        return (*where, "--cluster", self.namespace, "--watch-namespaces", self.namespace)

    def path(self, stream: str) -> str:
        return f"/v1/streams/{self.namespace}/{stream}/events"

    def apply(self, *objects: dict[str, object]) -> None:
        self.cluster.kubectl(
            "apply", "-n", self.namespace, "-f", "-", stdin="\n---\n".join(map(json.dumps, objects))
        )

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl(*words, "-n", self.namespace)

    def token(self, account: str, *options: str) -> str:
        return self.kubectl("create", "token", account, *options).strip()


def manifest(name: str, spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {"name": name},
        "spec": {"storage": {"prefix": name}, **spec},
    }


def rbac(
    kind: str, name: str, rules: list[dict[str, object]], namespace: str, account: str
) -> list[dict[str, object]]:
    """A role and its binding to a service account."""
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    return [
        {"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def account(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


@pytest.fixture(scope="module")
def site(control_plane: Cluster, emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    namespace = f"t-{uuid4().hex[:12]}"
    control_plane.kubectl("create", "namespace", namespace)
    made = Site(control_plane, emulator, namespace, tmp_path_factory.mktemp("gateways"), Path())
    watches = {"apiGroups": ["pik.dev"], "resources": ["capturestreams"], "verbs": ["get", "list", "watch"]}
    reviews = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    sends = {
        "apiGroups": ["pik.dev"],
        "resources": ["capturestreams/events"],
        "verbs": ["create"],
        "resourceNames": [REVIEWED],
    }
    made.apply(
        *map(account, ("gateway", "producer", "stranger")),
        *rbac("Role", "gateway", [watches], namespace, "gateway"),
        *rbac("ClusterRole", f"{namespace}-reviews", reviews, namespace, "gateway"),
        *rbac("Role", "producer", [sends], namespace, "producer"),
        *(manifest(name, spec) for name, spec in _SPECS.items()),
        manifest(SLEEPING, {"suspend": True}),
    )
    made.kubeconfig = control_plane.kubeconfig_of(namespace, "gateway")
    try:
        made.operator()
        for name in _SPECS:
            made.kubectl("wait", "--for=condition=Ready", "--timeout=120s", f"capturestream/{name}")
        yield made
    finally:
        for process in made.running:
            process.kill()
        control_plane.kubectl("delete", "clusterrole,clusterrolebinding", f"{namespace}-reviews")
        control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@dataclass
class Stored:
    """What raw data and index say: payloads of events by key, and every finding of `pik verify`."""

    payloads: dict[str, int]
    counts: Counter[str]
    tally: Counts
    findings: list[str]


async def stored(site: Site, name: str) -> Stored:
    resource = CaptureStream.from_manifest(
        json.loads(site.kubectl("get", "capturestream", name, "-o", "json"))
    )
    status = resource.status
    assert status.streamID is not None
    assert status.storage is not None
    assert status.index is not None
    io, work = ThreadOffload(8), ThreadOffload(2)
    clock, entropy = SystemClock(), SystemEntropy()
    access = AwsAccess(endpoint_url=site.endpoint)
    cloud = AwsCloud(access, io=io, cpu=work, clock=clock, entropy=entropy, loopback=True)
    cache = site.scratch / "segments"
    workshop = Workshop(cloud, clock=clock, entropy=entropy, offload=work, cache=cache, wake=lambda _: None)
    place = Place(status.streamID, status.storage.bucket or "", status.index.table or "")
    stream = (await workshop.open(resource, place, takes_events=False)).stream
    payloads: dict[str, int] = {}
    counts: Counter[str] = Counter()
    async for info in stream.objects.list(stream.layout.raw):
        _, rows = stream.codec.decode((await stream.objects.read(info.key)).body)
        for row in rows:
            counts[row.outcome.value] += 1
            if row.outcome is Outcome.ACCEPTED:
                said = json.loads(row.arrival.data)
                assert said["key"] not in payloads, "one event for each key"
                payloads[said["key"]] = said["amount"]
    report = await verify(stream)
    await index_orphans(stream)  # as the operator's timer does: one that was killed may have left a segment
    tally = await Tally(stream.index).count(clock.now())
    io.close()
    work.close()
    return Stored(payloads, counts, tally, [str(finding) for finding in report.findings])


async def test_two_gateways_race_the_same_keys(site: Site) -> None:
    """500 keys, each sent to both gateways with payloads that differ: 400 from both ends, so that neither is
    the first everywhere, and 100 at the very same time. One of the two is the event."""
    urls = [site.gateway().url + site.path(RACED) for _ in range(2)]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

        async def offer(amount: int, starts: Sequence[int]) -> None:
            for start in starts:
                batch = [event(f"k{number}", amount) for number in range(start, start + 20)]
                response = await send(client, urls[amount], batch)
                assert response.status_code == 200, response.text
                told[start, amount] = [answer["status"] for answer in response.json()["answers"]]

        told: dict[tuple[int, int], list[str]] = {}
        ends = range(0, 400, 20)
        await asyncio.gather(offer(0, ends), offer(1, ends[::-1]))
        await asyncio.gather(*(offer(amount, [start]) for start in range(400, 500, 20) for amount in (0, 1)))
    there = await stored(site, RACED)
    winners: dict[str, int] = {}
    for start in range(0, 500, 20):
        for offset, pair in enumerate(zip(told[start, 0], told[start, 1], strict=True)):
            assert sorted(pair) == ["ACCEPTED", "CONFLICT"]
            winners[f"k{start + offset}"] = pair.index("ACCEPTED")
    assert there.payloads == winners
    assert len(set(winners.values())) == 2, "no gateway had all of them: it was a race"
    assert there.counts == {"ACCEPTED": 500, "CONFLICT": 500}
    assert (there.tally.events, there.tally.conflicts, there.tally.duplicates) == (500, 500, 0)
    assert there.findings == []


async def test_a_gateway_that_is_told_to_end_loses_nothing_and_fails_nobody(site: Site) -> None:
    """As a rolling update does it: who asks /readyz before sending meets no failure at all."""
    leaving, staying = site.gateway(), site.gateway()
    ready = [leaving.url, staying.url]
    seen: list[int] = []

    async def look() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while leaving.url in ready:
                response = await client.get(f"{leaving.health}/readyz")
                seen.append(response.status_code)
                if not response.is_success:
                    ready.remove(leaving.url)
                await asyncio.sleep(0.02)

    producers = Producers(lambda: ready[:1], site.path(ENDED))
    looking = asyncio.create_task(look())
    sending = [asyncio.create_task(producers.run(number, size)) for number, size in enumerate((1, 1, 5, 20))]
    await producers.until(200)
    leaving.terminate()
    assert await asyncio.to_thread(leaving.ended) == 0
    await looking
    await producers.until(100)
    producers.stopping = True
    await asyncio.gather(*sending)
    assert seen[-1] == 503
    assert producers.failures == []
    there = await stored(site, ENDED)
    assert there.payloads.keys() == producers.answers.keys()
    assert set(producers.answers.values()) == {"ACCEPTED"}
    assert there.tally.events == len(producers.answers)
    assert there.findings == []


async def test_a_gateway_that_is_killed_loses_nothing_that_it_acknowledged(site: Site) -> None:
    killed, other = site.gateway(), site.gateway()
    urls = [killed.url, other.url]
    producers = Producers(lambda: urls, site.path(KILLED))
    sending = [asyncio.create_task(producers.run(number, size)) for number, size in enumerate((1, 1, 5, 20))]
    await producers.until(200)
    await asyncio.to_thread(killed.kill)
    acknowledged = dict(producers.answers)
    await producers.until(100)
    producers.stopping = True
    await asyncio.gather(*sending)
    there = await stored(site, KILLED)
    assert acknowledged.keys() <= there.payloads.keys()
    assert there.payloads.keys() == producers.answers.keys(), "and what was sent again is there once"
    assert set(acknowledged.values()) == {"ACCEPTED"}
    # an answer of the killed one that was lost is given again, as DUPLICATE
    assert set(producers.answers.values()) <= {"ACCEPTED", "DUPLICATE"}
    assert there.tally.events == len(producers.answers)


async def test_streams_are_what_their_objects_say(site: Site) -> None:
    gateway = site.gateway()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

        async def status(stream: str) -> int:
            return (await send(client, gateway.url + site.path(stream), [event("x")])).status_code

        assert await status("no-such") == 404
        assert await status(NOT_HTTP) == 404
        response = await send(client, gateway.url + site.path(SLEEPING), [event("x")])
        assert (response.status_code, response.json()["error"]["reason"]) == (503, "NotReady")
        assert int(response.headers["retry-after"]) >= 1
        assert await status(OPEN) == 200

        async def until_status(stream: str, wanted: int) -> None:
            async def holds() -> bool:
                return await status(stream) == wanted

            await comes(f"{stream} is answered {wanted}", holds)

        site.apply(manifest("late", {}))
        await until_status("late", 200)
        site.kubectl("patch", "capturestream", "late", "--type=merge", "-p", '{"spec": {"suspend": true}}')
        await until_status("late", 503)
        site.kubectl("patch", "capturestream", "late", "--type=merge", "-p", '{"spec": {"suspend": false}}')
        await until_status("late", 200)
        site.kubectl("delete", "capturestream", "late")
        await until_status("late", 404)


async def test_it_tells_of_itself(site: Site) -> None:
    gateway = site.gateway()
    token = site.token("stranger", "--audience", "pik")
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        batch = [event("told"), event("told"), event("told", 2), {"source": "tests"}]
        first = await send(client, gateway.url + site.path(OPEN), batch)
        assert [answer["status"] for answer in first.json()["answers"]][1:] == [
            *("DUPLICATE", "CONFLICT", "REJECTED")
        ]
        await send(client, gateway.url + site.path("made-up"), [event("x")])
        await send(client, gateway.url + site.path(REVIEWED), [event("x")], token)
        assert (await client.get(f"{gateway.health}/healthz")).status_code == 200
        text = (await client.get(f"{gateway.health}/metrics")).text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, /, **labels: str) -> float | None:
        return samples.get((name, *sorted(labels.items())))

    stream = {"namespace": site.namespace, "name": OPEN}
    for word in ("ACCEPTED", "DUPLICATE", "CONFLICT", "REJECTED"):
        assert value("pik_ingest_events_total", **stream, status=word) == 1, word
    assert value("pik_ingest_requests_total", **stream, status="200") == 1
    assert value("pik_ingest_requests_total", namespace="", name="", status="404") == 1
    assert value("pik_ingest_callers_total", type="TokenReview", result="Forbidden") == 1
    assert value("pik_ingest_lateness_seconds_count", **stream) == 1
    assert (value("pik_ingest_streams", state="Open") or 0) >= 6
    assert (value("pik_aws_requests_total", service="s3", operation="PutObject", result="OK") or 0) >= 1
    assert "made-up" not in text
    gateway.terminate()
    assert gateway.ended() == 0
    assert {"time", "level", "logger", "message"} <= gateway.lines()[0].keys()
    assert token not in gateway.log.read_text()


async def test_callers_by_review_and_through_an_outage(site: Site, tmp_path: Path) -> None:
    config = json.loads(site.kubeconfig.read_text())
    relay = Relay(config["clusters"][0]["cluster"]["server"])
    async with relay.open() as port, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        (tmp_path / "relayed").write_text(json.dumps(config))
        gateway = await asyncio.to_thread(site.gateway, kubeconfig=tmp_path / "relayed")
        url = gateway.url + site.path(REVIEWED)
        producer, stranger = (site.token(name, "--audience", "pik") for name in ("producer", "stranger"))

        async def asked(token: str | None) -> tuple[int, str | None]:
            response = await send(client, url, [event("asked")], token)
            return response.status_code, response.headers.get("www-authenticate")

        assert await asked(None) == (401, 'Bearer realm="pik"')
        assert await asked("made.up.token") == (401, 'Bearer realm="pik"')
        assert await asked(site.token("producer")) == (401, 'Bearer realm="pik"')  # for the API server
        assert await asked(stranger) == (403, None)
        assert await asked(producer) == (200, None)

        relay.cut()
        assert await asked(producer) == (200, None)
        assert (await asked(site.token("producer", "--audience", "pik")))[0] == 503  # never seen before
        assert (await send(client, gateway.url + site.path(OPEN), [event("away")])).status_code == 200
        assert gateway.is_ready()
        site.apply(manifest("meanwhile", {}))

        relay.mend()
        new = site.token("producer", "--audience", "pik")

        async def reviewed() -> bool:
            return (await asked(new))[0] == 200

        async def opened() -> bool:
            url = gateway.url + site.path("meanwhile")
            return (await send(client, url, [event("x")])).status_code == 200

        await comes("the API server is asked again", reviewed)
        await comes("what was made meanwhile is open", opened)


async def test_callers_by_a_mounted_token(site: Site, tmp_path: Path) -> None:
    path = tmp_path / site.namespace / "producers" / "token"
    gateway = site.gateway("--tokens", tmp_path)
    url = gateway.url + site.path(TOKENED)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert (await send(client, url, [event("t")], "first")).status_code == 503
        path.parent.mkdir(parents=True)
        path.write_text("first\n")
        assert (await send(client, url, [event("t")])).status_code == 401
        assert (await send(client, url, [event("t")], "other")).status_code == 401
        assert (await send(client, url, [event("t")], "first")).status_code == 200
        path.write_text("second-one\n")
        assert (await send(client, url, [event("t")], "first")).status_code == 401
        assert (await send(client, url, [event("t")], "second-one")).status_code == 200
    until("it is in the log that it was not mounted", lambda: "not mounted" in gateway.log.read_text())
