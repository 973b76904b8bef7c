"""What a cluster with a node needs of the machine, and where Debian has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster.errors import ClusterFailed

# program: package of Debian
NODE = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "nft": "nftables",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
}
IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux", "tar": "tar"}
CERTIFICATES = {"openssl": "openssl"}
_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_CNI = "containernetworking-plugins"
_INSTALL_SECONDS = 900.0


def missing(wanted: Mapping[str, str]) -> list[str]:
    """The programs that are not there."""
    return [name for name in wanted if shutil.which(name) is None]


def plugins_directory() -> Path | None:
    """Where the CNI plugins are; None where they are not."""
    return next((Path(place) for place in _PLUGINS if (Path(place) / "ptp").exists()), None)


def packages() -> list[str]:
    """The packages that are missing for pods and images."""
    wanted = NODE | IMAGES | CERTIFICATES
    found = {wanted[name] for name in missing(wanted)}
    return sorted(found if plugins_directory() else found | {_CNI})


def install(say: Callable[[str], None], environ: Mapping[str, str]) -> None:
    """Installs what is missing: only as root on a Debian. Elsewhere it says what is missing, and what that
    means. Raises `ClusterFailed` where apt-get fails."""
    if os.uname().sysname != "Linux":
        say("Pods run on Linux only: tests that need them are skipped. KUBECONFIG takes any cluster.")
        return
    wanted = packages()
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say(
            f"Missing for tests with pods, which are skipped: {', '.join(wanted)}. As root on Debian, "
            "`make cluster-tools` installs them."
        )
        return
    say(f"Installing for tests with pods, by apt-get: {', '.join(wanted)}")
    for words in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *wanted]):
        done = subprocess.run(
            ["apt-get", *words],
            env={**environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_SECONDS,
        )
        if done.returncode:
            raise ClusterFailed(f"apt-get {words[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
