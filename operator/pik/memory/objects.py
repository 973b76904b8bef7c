"""S3 in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256

from pik.domain.errors import AlreadyExists, Changed, NoSuchBucket, NoSuchObject
from pik.domain.instants import Instant
from pik.memory.hooks import Hook, unhooked
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
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._before = before
        self._after = after
        self._page = page

    async def create(
        self,
        key: str,
        body: bytes,
        content_type: str = "application/json",  # noqa: ARG002 - nothing reads it back
    ) -> Instant:
        await self._before("objects.create")
        if key in self._objects():
            raise AlreadyExists(f"there is an object {key} already")
        self._put(key, body)
        modified = self._bucket.objects[key].last_modified
        await self._after("objects.create")
        return modified

    async def replace(self, key: str, body: bytes, etag: str) -> None:
        await self._before("objects.replace")
        there = self._objects().get(key)
        if there is None or there.etag != etag:
            raise Changed(f"{key} is not what it was")
        self._put(key, body)
        await self._after("objects.replace")

    async def read(self, key: str) -> StoredObject:
        await self._before("objects.read")
        stored = self._get(key)
        await self._after("objects.read")
        return stored

    async def stat(self, key: str) -> ObjectInfo:
        await self._before("objects.stat")
        info = _info(key, self._get(key))
        await self._after("objects.stat")
        return info

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        while True:
            await self._before("objects.list")
            objects = self._objects()
            keys = sorted(key for key in objects if key.startswith(prefix) and key > start_after)
            page = [_info(key, objects[key]) for key in keys[: self._page]]
            await self._after("objects.list")
            for info in page:
                yield info
            if len(keys) <= self._page:
                return
            start_after = page[-1].key

    def _objects(self) -> dict[str, StoredObject]:
        if not self._bucket.exists:
            raise NoSuchBucket("there is no such bucket")
        return self._bucket.objects

    def _get(self, key: str) -> StoredObject:
        stored = self._objects().get(key)
        if stored is None:
            raise NoSuchObject(f"there is no object {key}")
        return stored

    def _put(self, key: str, body: bytes) -> None:
        modified = Instant(self._clock.now().micros // _SECOND * _SECOND)
        self._bucket.objects[key] = StoredObject(body, sha256(body).hexdigest(), modified)


def _info(key: str, stored: StoredObject) -> ObjectInfo:
    return ObjectInfo(key, len(stored.body), stored.etag, stored.last_modified)
