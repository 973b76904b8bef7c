"""Room for clusters with a node on one machine: each has a number, and all that it needs of the machine
follows from that number. So the next one that takes the number can take away what a killed one left.

Addresses are of 198.18.0.0/15, which is set aside for tests of networks and is routed nowhere.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterFailed

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
_SIZE = 21  # bits of a slot's prefix
_COUNT = 16
_LOCKS = Path("/run/pik-clusters")
_CGROUPS = Path("/sys/fs/cgroup")
_HEAVY = ("containerd", "kubelet")
_REMOVE_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Slot:
    """What a cluster has of the machine."""

    number: int

    @property
    def link(self) -> str:
        """The machine's end of the line to the cluster."""
        return f"pik{self.number}"

    @property
    def cgroup(self) -> str:
        """Path of the pods' cgroups in each hierarchy."""
        return f"/pik-{self.number}"

    @property
    def host(self) -> str:
        """The machine's address on the line."""
        return str(self._part(0)[1])

    @property
    def node(self) -> str:
        """The node's address: of the API server, the names' server, the AWS emulator."""
        return str(self._part(0)[2])

    @property
    def pods(self) -> str:
        return str(self._part(1))

    @property
    def services(self) -> str:
        return str(self._part(2))

    @property
    def whole(self) -> str:
        """The range of all addresses."""
        return str(list(RANGE.subnets(new_prefix=_SIZE))[self.number])

    def _part(self, number: int) -> ipaddress.IPv4Network:
        return list(ipaddress.IPv4Network(self.whole).subnets(new_prefix=24))[number]


@contextmanager
def take(directory: Path) -> Iterator[Slot]:
    """A free slot for as long as the block lasts, for a cluster whose files are in `directory`. What earlier
    holders left that were killed is taken away first. Raises `ClusterFailed` where all are taken."""
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    for number in range(_COUNT):
        with _locked(number) as free:
            if free:
                _clean(Slot(number))
    for number in range(_COUNT):
        with _locked(number) as free:
            if not free:
                continue
            slot = Slot(number)
            part = _note(slot).with_suffix(".part")
            part.write_text(str(directory))
            part.rename(_note(slot))  # whole or not at all
            for hierarchy in hierarchies():
                (hierarchy / slot.cgroup.lstrip("/")).mkdir(exist_ok=True)
            try:
                yield slot
            finally:
                _clean(slot)
            return
    raise ClusterFailed(f"{_COUNT} clusters run on this machine already")


@contextmanager
def _locked(number: int) -> Iterator[bool]:
    """Whether the slot is nobody else's; for as long as the block lasts."""
    with (_LOCKS / f"{number}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _note(slot: Slot) -> Path:
    """Says where the files of the slot's cluster are."""
    return _LOCKS / f"{slot.number}.directory"


def hierarchies() -> list[Path]:
    """Where cgroups are: one of version 2, or one a controller of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return sorted(each for each in _CGROUPS.iterdir() if each.is_dir() and (each / "cgroup.procs").exists())


def _clean(slot: Slot) -> None:
    """What is left once the processes are gone: the kernel ended them with the first of their PID namespace,
    and their mounts and network with them."""
    if not _note(slot).exists():
        return
    directory = Path(_note(slot).read_text())
    subprocess.run(["ip", "link", "delete", slot.link], capture_output=True, check=False)
    for hierarchy in hierarchies():
        _remove_cgroup(hierarchy / slot.cgroup.lstrip("/"))
    for name in _HEAVY:
        shutil.rmtree(directory / name, ignore_errors=True)
    _note(slot).unlink()


def _remove_cgroup(top: Path) -> None:
    deadline = time.monotonic() + _REMOVE_SECONDS
    for at, _, _ in os.walk(top, topdown=False):
        while True:
            try:
                Path(at).rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:  # its last process is not quite gone
                if time.monotonic() > deadline:
                    raise ClusterFailed(f"cannot remove {at}: {error}") from error
                time.sleep(_POLL_SECONDS)
                continue
            break
