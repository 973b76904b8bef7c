"""Operator and gateway at work, as processes, and what a test does with them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli_cluster.people import Person, Team


@dataclass(frozen=True)
class Work:
    """`gateway`: its base URL. `name`: of the cluster, in owner records."""

    gateway: str
    name: str


@contextmanager
def at_work(team: Team, endpoint: str, logs: Path) -> Iterator[Work]:
    """`pik operator` and `pik gateway` for one namespace, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    work = Work(f"http://127.0.0.1:{port}", team.namespace)
    common = ("--cluster", work.name, "--watch-namespaces", team.namespace)
    common += ("--kubeconfig", str(team.cluster.kubeconfig), "--host", "127.0.0.1")
    commands = (
        (
            *("operator", "--namespace", team.namespace, "--gateway-url", work.gateway),
            *("--executor", "InProcess", *common),
        ),
        ("gateway", "--port", port, *common),
    )
    environ = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
    with ExitStack() as stack:
        for command in commands:
            log = stack.enter_context((logs / f"{command[0]}.log").open("wb"))
            process = subprocess.Popen(
                [Path(sys.executable).with_name("pik"), *command], env=environ, stdout=log, stderr=log
            )
            stack.callback(_ended, process)
        yield work


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    finally:
        process.kill()


def rows(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["sensor,at,value", *lines]))
    return str(path)


def token_of(team: Team) -> str:
    """Of a service account that may send."""
    space = ("-n", team.namespace)
    team.cluster.kubectl("create", "serviceaccount", "importer", *space)
    team.cluster.kubectl(
        *("create", "role", "sender", "--verb=create", "--resource=capturestreams.pik.dev/events", *space)
    )
    team.cluster.kubectl(
        *("create", "rolebinding", "sender", "--role=sender", *space),
        f"--serviceaccount={team.namespace}:importer",
    )
    return team.cluster.kubectl("create", "token", "importer", "--audience", "pik", *space).strip()


def wait(oncall: Person, kind: str, name: str, condition: str) -> None:
    oncall.asks("wait", kind, name, "--for", f"condition={condition}", "--timeout", "120")
