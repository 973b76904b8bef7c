"""A folder with the packages of functions."""

from __future__ import annotations

from pathlib import Path

from pik.api.functions import Architecture
from pik.domain.errors import PackageMissing
from pik.planning.functions import FunctionKind, code_digest
from pik.ports.packages import Packages
from pik.ports.system import Offload


class NoPackages:
    """`ports.Packages` of an installation that was given none."""

    async def digest(self, kind: FunctionKind, architecture: Architecture) -> str:  # noqa: ARG002
        raise PackageMissing(
            "this installation has no packages of functions: make them by `make lambdas`, and name their "
            "folder by --functions (PIK_FUNCTIONS)"
        )

    async def read(self, kind: FunctionKind, architecture: Architecture) -> bytes:
        raise PackageMissing(f"there is no package {kind}-{architecture}.zip")


class PackageFolder:
    """`ports.Packages`: files named as `make lambdas` names them. What is in the folder is read again when a
    file has changed."""

    def __init__(self, folder: Path, offload: Offload) -> None:
        self._folder = folder
        self._offload = offload
        self._digests: dict[tuple[Path, int, int], str] = {}  # by what changes with a file

    async def digest(self, kind: FunctionKind, architecture: Architecture) -> str:
        path = self._path(kind, architecture)
        found = path.stat()
        seen = (path, found.st_mtime_ns, found.st_size)
        if seen not in self._digests:
            self._digests[seen] = code_digest(await self._read(path))
        return self._digests[seen]

    async def read(self, kind: FunctionKind, architecture: Architecture) -> bytes:
        return await self._read(self._path(kind, architecture))

    def _path(self, kind: FunctionKind, architecture: Architecture) -> Path:
        path = self._folder / f"{kind}-{architecture}.zip"
        if not path.is_file():
            raise PackageMissing(f"there is no {path.name} in the folder of --functions: `make lambdas`")
        return path

    async def _read(self, path: Path) -> bytes:
        try:
            return await self._offload(path.read_bytes)
        except OSError as error:
            raise PackageMissing(f"{path.name} cannot be read: {error.strerror}") from error


def packages_in(folder: Path | None, offload: Offload) -> Packages:
    """`folder`: as `make lambdas` fills it; None: there is none."""
    return NoPackages() if folder is None else PackageFolder(folder, offload)
