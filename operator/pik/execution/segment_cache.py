"""Segments as local files: `ports.SegmentFiles` over any object store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from pik.domain.errors import Incomplete, NoSuchObject, Tampered
from pik.domain.segments import SegmentEntry
from pik.execution.concurrency import all_of
from pik.ports.objects import ObjectStore
from pik.ports.system import Offload


class SegmentCache:
    """Keeps `<segment id>.parquet` files in `directory`, which several processes may share: a file appears
    whole or not at all. A file whose bytes are not those of its entry is fetched again.

    Segments never change, so a file stays good; deleting the directory while nobody reads is safe.
    """

    def __init__(self, objects: ObjectStore, directory: Path, offload: Offload, concurrency: int = 8) -> None:
        self.directory = directory
        self._objects = objects
        self._offload = offload
        self._concurrency = concurrency
        self._verified: dict[str, str] = {}  # file name: SHA-256 of its bytes, seen by this process

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        return await all_of([partial(self._one, entry) for entry in entries], self._concurrency)

    async def _one(self, entry: SegmentEntry) -> Path:
        path = self.directory / f"{entry.segment}.parquet"
        if not await self._offload(self._holds, path, entry.sha256):
            try:
                stored = await self._objects.read(entry.key)
            except NoSuchObject as error:
                raise Incomplete(f"the segment {entry.key} is gone") from error
            if await self._offload(_digest, stored.body) != entry.sha256:
                raise Tampered(f"{entry.key}: its bytes are not those that were recorded of it")
            await self._offload(_write, path, stored.body)
            self._verified[path.name] = entry.sha256
        return path

    def _holds(self, path: Path, digest: str) -> bool:
        if not path.exists():
            return False
        if self._verified.get(path.name) != digest:
            if _digest(path.read_bytes()) != digest:
                return False
            self._verified[path.name] = digest
        return True


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(body)
    Path(file.name).replace(path)
