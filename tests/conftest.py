"""The one place that decides what a test may touch: no sockets, unless it says so.

- no marker: no socket at all (unix sockets only, which asyncio needs for itself);
- `loopback`: sockets on this machine;
- `emulator` (set on every test that uses the fixture of that name): loopback, and `AWS_ENDPOINT_URL`'s host;
- `pods` (set on every test that uses the fixture `pod_cluster`): the addresses of that cluster too;
- `cluster` (set on every test that uses a fixture of `clusters_for_tests.py`): loopback, and the host of
  `KUBECONFIG`'s API server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import hypothesis
import pytest
import pytest_socket

from cluster import kubeconfig
from cluster.slots import RANGE as PRIVATE_RANGE
from pik.local import emulator as embedded

pytest_plugins = ["clusters_for_tests"]

_LOOPBACK = ["127.0.0.0/8", "::1", "localhost"]
_CLUSTER_FIXTURES = {"control_plane", "kube_namespace", "kubectl", "kube_api"}


def pytest_configure(config: pytest.Config) -> None:
    # The same examples in every run; HYPOTHESIS_PROFILE=random looks further.
    hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
    hypothesis.settings.register_profile("random", deadline=None)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
    config.addinivalue_line("markers", "loopback: opens sockets on this machine, and no others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if "emulator" in used:
            item.add_marker(pytest.mark.emulator)
        if used & _CLUSTER_FIXTURES:
            item.add_marker(pytest.mark.cluster)
        if "pod_cluster" in used:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.pods)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    hosts: list[str | None] = []
    if item.get_closest_marker("emulator"):
        hosts += [*_LOOPBACK, urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname]
    if item.get_closest_marker("cluster"):
        given = os.environ.get("KUBECONFIG")
        hosts += [*_LOOPBACK, kubeconfig.host(Path(given)) if given else None]
    if item.get_closest_marker("pods"):
        hosts += [*_LOOPBACK, str(PRIVATE_RANGE), urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname]
    if item.get_closest_marker("loopback"):
        hosts += _LOOPBACK
    if hosts:
        pytest_socket.socket_allow_hosts([host for host in hosts if host], allow_unix_socket=True)
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an AWS emulator: `AWS_ENDPOINT_URL` if it is set, else one started for this session."""
    given = os.environ.get("AWS_ENDPOINT_URL")
    if given:
        yield given
        return
    python = embedded.install(embedded.cache_directory(os.environ))
    folder = tmp_path_factory.mktemp("emulator")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(folder))  # it leaves there what it has unpacked for each function
        running = embedded.start(python, log=folder / "log")
    yield running.endpoint
    embedded.stop(running)
    for left in folder.glob("ministack-*"):
        shutil.rmtree(left, ignore_errors=True)


@pytest.fixture
def unique() -> str:
    """A name for a bucket or a table that no other test uses."""
    return f"pik-test-{uuid4().hex[:20]}"
