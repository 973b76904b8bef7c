"""Container images without Docker: `buildah` builds a Dockerfile, on a base that `debootstrap` makes.

The base stands in for `python:3.11-slim`: a minimal Debian with Python. What is built is kept in the cache
folder by the hash of all that went into it, as OCI archives. Nothing of how this machine reaches its package
index gets into an image: pip's settings are there as a secret while `RUN` runs, and no longer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import overlays, pip_settings, tools
from cluster.errors import ClusterFailed, ClusterImpossible

PIK_IMAGE = "pik.dev/pik:local"
PIK_INPUTS = ("Dockerfile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "operator")

_SUITE = "bookworm"  # Python 3.11
_MIRROR = "http://deb.debian.org/debian"  # or DEBIAN_MIRROR
_IGNORED = ("__pycache__", "*.egg-info", ".git", ".venv")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BUILD_SECONDS = 1_800.0
_KEPT = 3  # archives of a name
_IN_USE_SECONDS = 3_600.0  # that somebody may still be about to load one
_STORE_BYTES = 8 << 30  # beyond that buildah begins anew
_BASE = "localhost/pik-base:1"
_BUILDER = "localhost/pik-builder:1"
_BUILDER_RECIPE = f"""FROM {_BASE}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-pip ca-certificates
"""
_PAUSE_RECIPE = """FROM scratch
COPY pause /pause
USER 65535:65535
ENTRYPOINT ["/pause"]
"""


class Images:
    """Builds images in a folder of the cache. One build at a time; others wait."""

    def __init__(self, cache: Path, environ: Mapping[str, str]) -> None:
        self._home = cache / "images"
        self._environ = {**environ, "BUILDAH_ISOLATION": "chroot"}

    def pause(self, program: Path, name: str) -> Path:
        """The image of a pod's first process, as an archive."""
        with tempfile.TemporaryDirectory() as context:
            shutil.copy2(program, Path(context) / "pause")
            (Path(context) / "Dockerfile").write_text(_PAUSE_RECIPE)
            return self.build(Path(context), ("Dockerfile", "pause"), name)

    def pik(self, project: Path) -> Path:
        """The project's own image, by its own Dockerfile, as an archive."""
        return self.build(project, PIK_INPUTS, PIK_IMAGE)

    def build(self, context: Path, inputs: Sequence[str], name: str, **arguments: str) -> Path:
        """An OCI archive of the image that `Dockerfile` makes of these files and folders, and of no others.

        Raises `ClusterImpossible`, `ClusterFailed`.
        """
        check()
        self._home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="pik-image-") as scratch:
            chosen = Path(scratch) / "context"
            _copy(context, inputs, chosen)
            given = (f"{key}={value}" for key, value in sorted(arguments.items()))
            told = _hash(chosen, name, _BASE, _BUILDER, *given)
            stem = name.replace("/", "_").replace(":", "_")
            archive = self._home / f"{stem}-{told[:16]}.tar"
            with self._locked():
                if archive.exists():
                    archive.touch()
                else:
                    print(f"building the image {name}", file=sys.stderr, flush=True)
                    self._build(chosen, name, arguments, Path(scratch))
                    part = archive.with_suffix(".part")
                    self._buildah("push", "--quiet", name, f"oci-archive:{part}:{name}")
                    part.rename(archive)
                    self._forget(stem)
        return archive

    def _build(self, context: Path, name: str, arguments: Mapping[str, str], scratch: Path) -> None:
        recipe = (context / "Dockerfile").read_text()
        given = dict(arguments)
        if "ARG BASE" in recipe:
            self._need(_BASE, scratch)
            given |= {"BASE": _BASE}
        if "ARG BUILDER" in recipe:
            self._need(_BUILDER, scratch)
            given |= {"BUILDER": _BUILDER}
        settings = pip_settings.read(self._environ)
        secret = scratch / "pip.conf"
        secret.touch(mode=0o600)
        secret.write_text(settings.text)
        self._buildah("rm", "--all")  # of builds that were killed
        seen = [_CERTIFICATES, *settings.folders]
        self._buildah(
            "build", "--quiet", "--layers", "--tag", name, "--secret", f"id=pip,src={secret}",
            *(f"--volume={path}:{path}:ro" for path in seen if Path(path).exists()),
            *(f"--build-arg={key}={value}" for key, value in given.items()),
            str(context),
        )  # fmt: skip

    def _need(self, name: str, scratch: Path) -> None:
        """Makes a base where it is not there yet."""
        if self._has(name):
            return
        context = scratch / name.replace("/", "_").replace(":", "_")
        context.mkdir()
        recipe = _BUILDER_RECIPE
        if name == _BASE:
            self._debootstrap(context / "root")
            recipe = "FROM scratch\nCOPY root /\n"
        else:
            self._need(_BASE, scratch)
        (context / "Dockerfile").write_text(recipe)
        self._buildah("build", "--quiet", "--tag", name, str(context))

    def _debootstrap(self, root: Path) -> None:
        mirror = self._environ.get("DEBIAN_MIRROR", _MIRROR)
        words = ["debootstrap", "--variant=minbase", "--include=python3", _SUITE, str(root), mirror]
        _run(words, self._environ)
        for waste in ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man",
                      "usr/share/locale"):  # fmt: skip
            for each in (root / waste).iterdir():
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()

    def _has(self, name: str) -> bool:
        return bool(self._buildah("images", "--quiet", "--filter", f"reference={name}").strip())

    def _forget(self, stem: str) -> None:
        """Older archives, and buildah's layers where they have become too many."""
        archives = sorted(self._home.glob(f"{stem}-*.tar"), key=lambda one: one.stat().st_mtime)
        for old in archives[:-_KEPT]:
            if old.stat().st_mtime < time.time() - _IN_USE_SECONDS:
                old.unlink()
        used = sum(one.lstat().st_size for one in (self._home / "storage").rglob("*") if one.is_file())
        if used > _STORE_BYTES:
            shutil.rmtree(self._home / "storage")

    def _buildah(self, *words: str) -> str:
        places = ["--root", str(self._home / "storage"), "--runroot", str(self._home / "run")]
        driver = "overlay" if overlays.possible(self._home, _succeeds) else "vfs"
        return _run(["buildah", *places, "--storage-driver", driver, *words], self._environ)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def check() -> None:
    missing = tools.missing(tools.IMAGES)
    if missing or os.geteuid() != 0:
        wanted = ", ".join(missing or tools.IMAGES)
        raise ClusterImpossible(f"images need root and {wanted}: on Debian, `make cluster-tools`")


def _copy(context: Path, inputs: Sequence[str], into: Path) -> None:
    into.mkdir()
    for name in inputs:
        source = context / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns(*_IGNORED))
        else:
            shutil.copy2(source, into / name)


def _hash(folder: Path, *words: str) -> str:
    """Of names, modes and contents."""
    told = hashlib.sha256("\0".join(words).encode())
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        told.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111:o}\0{content}\n".encode())
    return told.hexdigest()


# In a mount namespace of its own, so that a command that is killed leaves no mounts.
_ALONE = ("unshare", "--mount", "--fork", "--kill-child", "--")


def _succeeds(*command: str) -> bool:
    return subprocess.run([*_ALONE, *command], capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str], environ: Mapping[str, str]) -> str:
    words = [*_ALONE, *command]
    try:
        done = subprocess.run(
            words, env=dict(environ), capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(f"{command[0]} took longer than {_BUILD_SECONDS:.0f} s") from error
    if done.returncode:
        raise ClusterFailed(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
