"""What sinks that send by AWS are tested with: the emulator behind a proxy that makes calls fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.policy import nothing
from faults.proxy import FaultProxy, faulty
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.system import ThreadOffload


@pytest.fixture
def proxy(emulator: str) -> Iterator[FaultProxy]:
    with faulty(emulator, nothing) as proxy:
        yield proxy


@pytest.fixture
def clients(emulator: str) -> AwsClients:
    """Past the proxy, to look at what there is."""
    return AwsClients(AwsAccess(endpoint_url=emulator, connections=8))


@pytest.fixture
def through(proxy: FaultProxy) -> AwsClients:
    """Through the proxy, to send."""
    return AwsClients(AwsAccess(endpoint_url=proxy.endpoint, connections=8))


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(8, "aws")
    yield pool
    pool.close()
