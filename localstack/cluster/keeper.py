"""The process that owns a cluster: starts its programs, says when it is ready, and ends them with itself.

It is over when its owner closes the pipe to it, by dying for instance, or by SIGTERM. Should it be killed
itself, the kernel kills what it started.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cluster import control_plane, machine, node, programs, record, slots
from cluster.control_plane import Address, ControlPlane
from cluster.errors import ClusterFailed
from cluster.images import Images
from cluster.processes import Children, Ended, Owner, without_proxies
from cluster.slots import Slot
from pik.local import emulator

_TRIES = 3  # another process may take a port between our look and our start
_TAKEN = "address already in use"
_API_PORT = 6443
_AWS_PORT = 4566
_AWS_SECONDS = 60.0


def keep(directory: Path, environ: Mapping[str, str], pipe: bool, pods: bool) -> None:
    """Runs a cluster in `directory` until it is over. `pipe`: its end is stdin's end. `pods`: with a node.

    Raises `ClusterFailed`, `ClusterImpossible`.
    """
    owner = Owner(pipe)
    logs = directory / "logs"
    logs.mkdir(parents=True)
    children = Children(logs, owner, without_proxies(environ))
    with record.held(directory), suppress(Ended):
        if not pods:
            _keep(directory, children, lambda: _without_node(directory, environ, children))
            return
        machine.check()
        with slots.take(directory) as slot:
            _keep(directory, children, lambda: _with_node(directory, environ, children, slot))


def _keep(directory: Path, children: Children, start: Callable[[], record.Record]) -> None:
    try:
        record.write(directory, start())
        children.owner.pause(None)
    finally:
        record.remove(directory)
        children.stop()
        for own in directory.glob("control-plane-*"):  # logs stay; data and keys are of no use any more
            for name in ("etcd", "pki"):
                shutil.rmtree(own / name, ignore_errors=True)


def _without_node(directory: Path, environ: Mapping[str, str], children: Children) -> record.Record:
    found = programs.find(programs.CONTROL_PLANE, environ)
    for number in range(1, _TRIES + 1):
        try:
            return _record(control_plane.start(_place(directory, number), found, children, Address()))
        except ClusterFailed as error:
            children.stop()
            if number == _TRIES or _TAKEN not in str(error):
                raise
    raise AssertionError


def _with_node(directory: Path, environ: Mapping[str, str], children: Children, slot: Slot) -> record.Record:
    found = programs.find([*programs.CONTROL_PLANE, *programs.NODE], environ)
    pause = Images(programs.cache_directory(environ), environ).pause(found["pause"], node.PAUSE_IMAGE)
    own = machine.start(slot, directory, found["pause"], children)
    children.inside = own.inside
    address = Address(slot.node, _API_PORT, slot.services)
    ready = control_plane.start(_place(directory, 1), found, children, address, node=True)
    node.start(directory, slot, own, found, children, ready, pause)
    aws = _start_aws(directory, environ, children, slot)
    return _record(ready, own.pid, slot, aws)


def _start_aws(directory: Path, environ: Mapping[str, str], children: Children, slot: Slot) -> str:
    """The AWS emulator at the node's address: pods reach it there, and so does the machine."""
    python = emulator.install(emulator.cache_directory(environ))
    endpoint = f"http://{slot.node}:{_AWS_PORT}"
    settings = emulator.environment(environ, slot.node, _AWS_PORT, directory / "aws", persist=False)
    children.start("aws", [python, *emulator.ARGUMENTS], settings)
    children.wait("aws", "AWS emulator", lambda: emulator.is_healthy(endpoint), _AWS_SECONDS)
    return endpoint


def _place(directory: Path, number: int) -> Path:
    own = directory / f"control-plane-{number}"
    own.mkdir(mode=0o700)
    return own


def _record(ready: ControlPlane, machine_: int = 0, slot: Slot | None = None, aws: str = "") -> record.Record:
    return record.Record(
        pid=os.getpid(),
        server=ready.server,
        kubeconfig=str(ready.admin),
        audit=str(ready.audit),
        pki=str(ready.authority.directory),
        machine=machine_,
        node=slot.node if slot else "",
        network=slot.whole if slot else "",
        aws=aws,
    )
