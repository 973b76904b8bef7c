"""Probes that mean something, and metrics as Prometheus asks for them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pik.cluster.health import Health
from pik.cluster.metrics.registry import process_registry
from pik.gateway.server import serving
from pik.memory.system import InlineOffload


def health(**faults: list[str]) -> Health:
    return Health(
        process_registry("1.2.3"),
        InlineOffload(),
        live=lambda: faults.get("live", []),
        ready=lambda: faults.get("ready", []),
    )


async def ask(app: Health, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.request(method, path, headers=headers)


async def test_all_is_well() -> None:
    for path in ("/healthz", "/readyz"):
        response = await ask(health(), path)
        assert (response.status_code, response.text) == (200, "ok\n")


async def test_what_is_wrong_is_said() -> None:
    broken = health(live=["the part lease has ended"], ready=["not synced", "not leading"])
    response = await ask(broken, "/healthz")
    assert (response.status_code, response.text) == (503, "the part lease has ended\n")
    response = await ask(broken, "/readyz")
    assert (response.status_code, response.text) == (503, "not synced\nnot leading\n")


@pytest.mark.parametrize(("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405)])
async def test_nothing_else_is_there(path: str, method: str, status: int) -> None:
    assert (await ask(health(), path, method)).status_code == status


@pytest.mark.parametrize(
    "accept", ["", "text/plain", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"]
)
async def test_metrics_in_the_format_that_is_asked_for(accept: str) -> None:
    response = await ask(health(), "/metrics", accept=accept)
    assert response.status_code == 200
    wanted = "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    assert response.headers["content-type"].startswith(wanted)
    assert 'pik_build_info{version="1.2.3"} 1.0' in response.text
    assert "process_resident_memory_bytes" in response.text
    if wanted == "text/plain":
        families: list[Any] = list(text_string_to_metric_families(response.text))
        assert {family.name for family in families} >= {"pik_build_info", "python_info"}


@pytest.mark.loopback
async def test_it_is_served_over_a_socket() -> None:
    async with serving(health(), "127.0.0.1", 0) as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/healthz")).status_code == 200
        head = await client.head(f"{url}/metrics")
        assert (head.status_code, head.content) == (200, b"")
