"""A certificate that is replaced while the gateway serves."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from cluster.certificates import Authority, Pair
from cluster.errors import ClusterImpossible
from clusters_for_tests import impossible
from gateway.processes import comes
from pik.gateway.app import Gateway
from pik.gateway.server import CannotServe, Certificate, serving

pytestmark = pytest.mark.loopback


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    try:
        return Authority.make(tmp_path / "authority")
    except ClusterImpossible as error:
        impossible(error)


def mounted(directory: Path, pair: Pair) -> Certificate:
    """The pair as the files that a gateway is told of."""
    directory.mkdir(exist_ok=True)
    certificate = Certificate(directory / "tls.crt", directory / "tls.key", looked_at=0.05)
    for source, target in ((pair.certificate, certificate.chain), (pair.key, certificate.key)):
        fresh = target.with_suffix(".new")
        shutil.copy(source, fresh)
        fresh.replace(target)
    return certificate


async def presented(url: str, authority: Authority) -> str:
    """The common name in the certificate that a new connection meets."""
    context = ssl.create_default_context(cafile=str(authority.own.certificate))
    address = httpx.URL(url)
    _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    found = writer.get_extra_info("peercert")["subject"]
    writer.close()
    await writer.wait_closed()
    return str(dict(part[0] for part in found)["commonName"])


async def test_what_replaces_a_certificate_is_used_and_half_of_it_is_not(
    authority: Authority, tmp_path: Path
) -> None:
    first, second = (authority.server(name, ["localhost"], ["127.0.0.1"]) for name in ("first", "second"))
    certificate = mounted(tmp_path / "tls", first)
    async with serving(Gateway(lambda *_: None), "127.0.0.1", 0, certificate=certificate) as url:
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(authority.own.certificate))
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(f"{url}/healthz")).status_code == 200
            assert await presented(url, authority) == "first"
            shutil.copy(second.certificate, certificate.chain)  # and not yet its key
            await asyncio.sleep(certificate.looked_at * 4)
            assert await presented(url, authority) == "first"
            mounted(tmp_path / "tls", second)

            async def renewed() -> bool:
                return await presented(url, authority) == "second"

            await comes("the second certificate is used", renewed)
            assert (await client.get(f"{url}/healthz")).status_code == 200


async def test_a_certificate_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("nothing of the kind")
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    with pytest.raises(CannotServe, match=r"tls\.crt cannot be used"):
        async with serving(Gateway(lambda *_: None), "127.0.0.1", 0, certificate=certificate):
            pass
