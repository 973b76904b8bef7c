"""The bucket as the work sees it: conditional creation, exact reads, whole listings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from pik.domain.instants import Instant


class ObjectInfo(msgspec.Struct, frozen=True):
    key: str
    size: int  # bytes
    etag: str
    last_modified: Instant  # whole seconds


class StoredObject(msgspec.Struct, frozen=True):
    body: bytes
    etag: str
    last_modified: Instant


class ObjectStore(Protocol):
    """One bucket. All calls raise `NoSuchBucket` when it is gone."""

    async def create(self, key: str, body: bytes, content_type: str = "application/json") -> Instant:
        """PUT with `If-None-Match: *`. The service's own time when it had done so (whole seconds, not before
        the object's LastModified). Raises `AlreadyExists`."""
        ...

    async def replace(self, key: str, body: bytes, etag: str) -> None:
        """PUT with `If-Match`. Raises `Changed`."""
        ...

    async def read(self, key: str) -> StoredObject:
        """Raises `NoSuchObject`."""
        ...

    async def save(self, key: str, path: Path, etag: str) -> None:
        """The object into a file, whatever its size. Raises `NoSuchObject`, and `Changed` where it is not the
        one of `etag` any more."""
        ...

    async def stat(self, key: str) -> ObjectInfo:
        """Raises `NoSuchObject`."""
        ...

    def list(self, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object under the prefix with a key after `start_after`, in key order, paged to the end."""
        ...
