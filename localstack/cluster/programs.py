"""The programs of Kubernetes, by the convention of envtest, or built once from the pinned Go module.

`KUBEBUILDER_ASSETS` names a folder with `etcd`, `kube-apiserver`, `kubectl` and so on. What is not in it is
built from `localstack/programs/go.mod` into the cache folder and stays there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterFailed, ClusterImpossible

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE = ("kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause")
HELM = "helm"
MODULE = Path(__file__).parent.parent / "programs"

# modules of their own: in one with Kubernetes 1.35 they do not compile
_OTHERS = {"helm": "helm.sh/helm/v4/cmd/helm@v4.3.1", "coredns": "github.com/coredns/coredns@v1.13.1"}
_PACKAGES = {"etcd": "go.etcd.io/etcd/server/v3", "pause": "./pause"}
_PART = ".part"
_BUILD_SECONDS = 1_800.0  # the API server alone takes five minutes on two cores


def cache_directory(environ: Mapping[str, str]) -> Path:
    """The project's folder in the user's cache."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pik"


def kubernetes_version() -> str:
    """The pinned version, `v1.35.4` say."""
    pinned = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if pinned is None:
        raise ClusterFailed(f"{MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return pinned[1]


def find(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, Path]:
    """Where each program is; builds what is not there. Raises `ClusterImpossible` without Go and
    `ClusterFailed` where a build fails. Two runs at once build once."""
    given = environ.get("KUBEBUILDER_ASSETS")
    home = cache_directory(environ) / "kubernetes" / kubernetes_version()
    found = {}
    for name in names:
        places = [Path(given) / name] if given else []
        at = next((place for place in [*places, home / name] if os.access(place, os.X_OK)), None)
        found[name] = at or _build(name, home, environ)
    return found


def _build(name: str, home: Path, environ: Mapping[str, str]) -> Path:
    go = shutil.which("go", path=environ.get("PATH")) or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise ClusterImpossible(
            f"{name} is not there: install Go (https://go.dev) for it to be built, or set KUBEBUILDER_ASSETS "
            "to a folder that has it (setup-envtest use -p path)"
        )
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / ".lock"):
        target = home / name
        if target.exists():  # another run was first
            return target
        for left in home.glob(f".*{_PART}"):  # of builds that were killed: we have the lock
            shutil.rmtree(left)
        print(f"building {name}, once, into {home}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=f".{name}-", suffix=_PART) as part:
            _go(go, name, Path(part), environ)
            (Path(part) / name).rename(target)  # whole or not at all
    return target


def _go(go: str, name: str, into: Path, environ: Mapping[str, str]) -> None:
    if name in _OTHERS:
        command = [go, "install", "-ldflags", "-s -w", _OTHERS[name]]
        where: dict[str, str] = {"GOBIN": str(into)}
    else:
        package = _PACKAGES.get(name, f"k8s.io/kubernetes/cmd/{name}")
        command = [go, "build", "-ldflags", _linked(kubernetes_version()), "-o", str(into / name), package]
        where = {}
    try:
        done = subprocess.run(
            command,
            cwd=MODULE,
            env={**environ, **where, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(f"building {name} took longer than {_BUILD_SECONDS:.0f} s") from error
    if done.returncode:
        raise ClusterFailed(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _linked(version: str) -> str:
    """Linker flags: no symbols, and the version that the programs say they are."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    at = "k8s.io/component-base/version."
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {at}{name}={value}" for name, value in told.items())])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
