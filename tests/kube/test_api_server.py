"""Where the API server is."""

from __future__ import annotations

import pytest

from kube.fake_api import FakeApi
from pik.cluster.api_server import api_server_networks, control_plane
from pik.cluster.errors import KubeUnavailable
from pik.cluster.paths import API_SERVER_ENDPOINTS
from pik.planning.replay.addresses import forbidden


async def resolver(host: str, port: int) -> list[str]:
    if host == "kubernetes.example.test":
        return ["10.96.0.1", "fd00:10:96::1%eth0", "127.0.0.1"]
    if host == "gone.example.test":
        raise OSError("no such host")
    return [host]


async def test_every_address_of_its_names_is_forbidden() -> None:
    networks = await api_server_networks(["kubernetes.example.test", None, "", "192.0.2.7"], resolver)
    for address in ("10.96.0.1", "fd00:10:96::1", "192.0.2.7", "::ffff:10.96.0.1"):
        assert forbidden(address, loopback=False, networks=networks) == "the API server of this cluster"
    assert forbidden("10.96.0.2", loopback=False, networks=networks) is None


async def test_where_its_service_leads_to() -> None:
    api = FakeApi()
    assert await control_plane(api) == ()
    there = {"endpoints": [{"addresses": ["192.0.2.7"]}, {"addresses": ["192.0.2.8", "192.0.2.9"]}]}
    api.objects[API_SERVER_ENDPOINTS] = there
    assert await control_plane(api) == ("192.0.2.7", "192.0.2.8", "192.0.2.9")


async def test_whether_this_machine_is_a_target_is_decided_by_itself() -> None:
    assert await api_server_networks(["127.0.0.1", "::1"], resolver) == ()


async def test_a_name_that_cannot_be_resolved_is_no_open_door() -> None:
    with pytest.raises(KubeUnavailable, match=r"gone\.example\.test"):
        await api_server_networks(["gone.example.test"], resolver)
