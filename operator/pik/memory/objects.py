"""S3 in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

from pik.domain.errors import AlreadyExists, Changed, NoSuchBucket, NoSuchObject
from pik.domain.instants import Instant
from pik.memory.hooks import Hook, Hooked, Wire, unhooked
from pik.ports.objects import ObjectInfo, StoredObject
from pik.ports.system import Clock

_SECOND = 1_000_000


@dataclass
class MemoryBucket:
    """What several stores, each with its own hooks, share. Tests may change `objects` behind their backs."""

    exists: bool = True
    objects: dict[str, StoredObject] = field(default_factory=dict)


class MemoryObjectStore:
    """`ports.ObjectStore` over a `MemoryBucket`. Each page of a listing is a call of its own."""

    def __init__(
        self,
        bucket: MemoryBucket,
        clock: Clock,
        before: Hook = unhooked,
        after: Hook = unhooked,
        page: int = 1_000,
        wire: Wire | None = None,
    ) -> None:
        """`clock`: the service's own. `wire`: in place of the two hooks."""
        self._bucket = bucket
        self._clock = clock
        self._wire = wire or Hooked(before, after)
        self._page = page

    async def create(
        self,
        key: str,
        body: bytes,
        content_type: str = "application/json",  # noqa: ARG002 - nothing reads it back
    ) -> Instant:
        def effect() -> Instant:
            if key in self._objects():
                raise AlreadyExists(f"there is an object {key} already")
            return self._put(key, body)

        return await self._wire.call("objects.create", effect)

    async def replace(self, key: str, body: bytes, etag: str) -> None:
        def effect() -> None:
            there = self._objects().get(key)
            if there is None or there.etag != etag:
                raise Changed(f"{key} is not what it was")
            self._put(key, body)

        await self._wire.call("objects.replace", effect)

    async def read(self, key: str) -> StoredObject:
        return await self._wire.call("objects.read", lambda: self._get(key))

    async def save(self, key: str, path: Path, etag: str) -> None:
        def effect() -> bytes:
            stored = self._get(key)
            if stored.etag != etag:
                raise Changed(f"{key} is not what it was")
            return stored.body

        path.write_bytes(await self._wire.call("objects.save", effect))  # noqa: ASYNC240 - of tests

    async def stat(self, key: str) -> ObjectInfo:
        return await self._wire.call("objects.stat", lambda: _info(key, self._get(key)))

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        whole = False
        while not whole:
            page, whole = await self._wire.call("objects.list", partial(self._listed, prefix, start_after))
            for info in page:
                yield info
            start_after = page[-1].key if page else ""

    def _listed(self, prefix: str, start_after: str) -> tuple[Sequence[ObjectInfo], bool]:
        """The page of objects after a key, and whether it is the last."""
        objects = self._objects()
        keys = sorted(key for key in objects if key.startswith(prefix) and key > start_after)
        return [_info(key, objects[key]) for key in keys[: self._page]], len(keys) <= self._page

    def _objects(self) -> dict[str, StoredObject]:
        if not self._bucket.exists:
            raise NoSuchBucket("there is no such bucket")
        return self._bucket.objects

    def _get(self, key: str) -> StoredObject:
        stored = self._objects().get(key)
        if stored is None:
            raise NoSuchObject(f"there is no object {key}")
        return stored

    def _put(self, key: str, body: bytes) -> Instant:
        modified = Instant(self._clock.now().micros // _SECOND * _SECOND)
        self._bucket.objects[key] = StoredObject(body, sha256(body).hexdigest(), modified)
        return modified


def _info(key: str, stored: StoredObject) -> ObjectInfo:
    return ObjectInfo(key, len(stored.body), stored.etag, stored.last_modified)
