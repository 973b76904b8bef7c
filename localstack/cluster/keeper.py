"""The process that owns a cluster: starts its programs, says when it is ready, and ends them with itself.

It is over when its owner closes the pipe to it, by dying for instance, or by SIGTERM. Should it be killed
itself, the kernel kills what it started.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster import control_plane, programs, record
from cluster.errors import ClusterFailed
from cluster.processes import Children, Ended, Owner

_TRIES = 3  # another process may take a port between our look and our start
_TAKEN = "address already in use"


def keep(directory: Path, environ: Mapping[str, str], pipe: bool) -> None:
    """Runs a control plane in `directory` until it is over. `pipe`: its end is stdin's end.

    Raises `ClusterFailed`, `ClusterImpossible`.
    """
    owner = Owner(pipe)
    found = programs.find(programs.CONTROL_PLANE, environ)
    logs = directory / "logs"
    logs.mkdir(parents=True)
    children = Children(logs, owner, without_proxies(environ))
    try:
        ready = _start(directory, found, children)
        record.write(directory, _record(ready))
        owner.pause(None)
    except Ended:
        pass
    finally:
        record.remove(directory)
        children.stop()
        _forget(directory)


def _forget(directory: Path) -> None:
    """What is of no use without the cluster: its data and its keys. Logs stay."""
    for own in directory.glob("control-plane-*"):
        for name in ("etcd", "pki"):
            shutil.rmtree(own / name, ignore_errors=True)


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs that talk to this cluster only."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}


def _record(ready: control_plane.ControlPlane) -> record.Record:
    return record.Record(
        pid=os.getpid(),
        server=ready.server,
        kubeconfig=str(ready.admin),
        audit=str(ready.audit),
        pki=str(ready.authority.directory),
    )


def _start(directory: Path, found: Mapping[str, Path], children: Children) -> control_plane.ControlPlane:
    for number in range(1, _TRIES + 1):
        own = directory / f"control-plane-{number}"
        own.mkdir(mode=0o700)
        try:
            return control_plane.start(own, found, children, control_plane.Address())
        except ClusterFailed as error:
            children.stop()
            shutil.rmtree(own)
            if number == _TRIES or _TAKEN not in str(error):
                raise
    raise AssertionError
