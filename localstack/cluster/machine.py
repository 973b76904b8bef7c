"""A machine of the cluster's own: namespaces for processes, mounts and network, that end with its first
process.

Whatever runs inside (containerd, its shims, the pods) is killed by the kernel when the first process dies,
and that dies with the keeper. Mounts and links go with the last process: nothing needs to be undone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import tools
from cluster.errors import ClusterFailed, ClusterImpossible
from cluster.processes import Children
from cluster.slots import Slot

_START_SECONDS = 10.0
# The kubelet sets these for the whole machine. Here it finds that they are so already, in files of its own.
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass(frozen=True)
class Machine:
    """A machine that is up."""

    pid: int  # of its first process

    @property
    def inside(self) -> list[str]:
        """The words before a command that is to run inside."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--ipc", "--"]

    def run(self, *command: str | Path, stdin: str | None = None) -> str:
        """Runs a command inside; what it prints. Raises `ClusterFailed`."""
        return _run([*self.inside, *map(str, command)], stdin)

    def succeeds(self, *command: str | Path) -> bool:
        """Whether a command inside does."""
        words = [*self.inside, *map(str, command)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


def check() -> None:
    """Raises `ClusterImpossible` where this machine cannot run pods."""
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        raise ClusterImpossible("pods need Linux and root: run it as root")
    missing = tools.packages()
    if missing:
        raise ClusterImpossible(f"pods need {', '.join(missing)}: on Debian, `make cluster-tools`")


def start(slot: Slot, directory: Path, first: Path, children: Children) -> Machine:
    """Starts it; `first` is the program of its first process. Raises `ClusterFailed`."""
    children.start(
        "machine",
        ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", first],
    )
    outer = children.running["machine"].pid
    children.wait("machine", "first process", lambda: _first(outer, first.name) is not None, _START_SECONDS)
    machine = Machine(_first(outer, first.name) or 0)
    _connect(slot, machine)
    _furnish(machine, directory)
    return machine


def _first(outer: int, name: str) -> int | None:
    """The child of unshare, once it is the program that it is to be."""
    try:
        child = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0]
        return int(child) if Path(f"/proc/{child}/comm").read_text().strip() == name[:15] else None
    except (FileNotFoundError, IndexError, ProcessLookupError):
        return None


def _connect(slot: Slot, machine: Machine) -> None:
    """A line between this machine and that one, and the way to its pods and Services."""
    _run(
        ["ip", "-batch", "-"],
        f"""
link add {slot.link} type veth peer name eth0 netns {machine.pid}
address add {slot.host}/24 dev {slot.link}
link set {slot.link} up
route add {slot.pods} via {slot.node}
route add {slot.services} via {slot.node}
""",
    )
    machine.run(
        "ip",
        "-batch",
        "-",
        stdin=f"""
link set lo up
address add {slot.node}/24 dev eth0
link set eth0 up
route add {slot.services} dev eth0
route add unreachable default
""",
    )
    machine.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")


def _furnish(machine: Machine, directory: Path) -> None:
    """Places that programs write to, whatever we tell them: here they are the machine's own."""
    own = directory / "machine"
    own.mkdir()
    lines = [
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "mount -t tmpfs -o mode=755 tmpfs /var/log",
        f"mount -t tmpfs tmpfs {own}",
        f"mkdir {own}/upper {own}/work",
        f"mount -t overlay -o lowerdir=/var/lib,upperdir={own}/upper,workdir={own}/work overlay /var/lib",
    ]
    for name, value in _SYSCTLS.items():
        plain = f"{own}/{name.replace('/', '.')}"
        if Path("/proc/sys", name).exists():
            lines += [f"echo {value} >{plain}", f"mount --bind {plain} /proc/sys/{name}"]
    machine.run("sh", "-ec", "\n".join(lines))


def _run(command: Sequence[str], stdin: str | None = None) -> str:
    done = subprocess.run(list(command), input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterFailed(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
    return done.stdout
