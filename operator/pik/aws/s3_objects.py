"""One S3 bucket as `ports.ObjectStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pik.api.storage import ObjectLockMode, Storage
from pik.aws.errors import call, is_code
from pik.domain.errors import AlreadyExists, Changed, NoSuchBucket, NoSuchObject, PikError, Refused
from pik.domain.instants import Instant, instant_of
from pik.ports.objects import ObjectInfo, StoredObject
from pik.ports.system import Clock, Offload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from pik.aws.quick import QuickS3


_PART = 1 << 20  # bytes


class Lock(msgspec.Struct, frozen=True):
    """S3 Object Lock of the objects that are created under a prefix."""

    prefix: str
    mode: str  # GOVERNANCE or COMPLIANCE
    days: int


_MODES = {ObjectLockMode.GOVERNANCE: "GOVERNANCE", ObjectLockMode.COMPLIANCE: "COMPLIANCE"}


def lock_of(storage: Storage) -> Lock | None:
    """Of a stream's raw objects."""
    lock = storage.objectLock
    return None if lock is None else Lock(f"{storage.prefix}/raw/", _MODES[lock.mode], lock.days)


class S3ObjectStore:
    def __init__(
        self, client: S3Client | QuickS3, bucket: str, io: Offload, clock: Clock, lock: Lock | None = None
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._io = io
        self._clock = clock
        self._lock = lock

    async def create(self, key: str, body: bytes, content_type: str = "application/json") -> Instant:
        try:
            answer = await self._put(
                key, body, ContentType=content_type, IfNoneMatch="*", **self._locked(key)
            )
        except Refused as error:
            if is_code(error, "PreconditionFailed"):
                raise AlreadyExists(f"there is an object {key} already") from error
            raise
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            return (await self.stat(key)).last_modified
        return instant_of(parsedate_to_datetime(date))

    async def replace(self, key: str, body: bytes, etag: str) -> None:
        try:
            await self._put(key, body, ContentType="application/json", IfMatch=etag)
        except (Refused, NoSuchObject) as error:
            if isinstance(error, NoSuchObject) or is_code(error, "PreconditionFailed"):
                raise Changed(f"{key} is not what it was") from error
            raise

    async def read(self, key: str) -> StoredObject:
        def get() -> StoredObject:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            # entering the body itself would read past botocore's checks of its length and checksum
            with closing(answer["Body"]) as stream:
                body = stream.read()
            return StoredObject(body, answer["ETag"], instant_of(answer["LastModified"]))

        return await call(self._io, get)

    async def save(self, key: str, path: Path, etag: str) -> None:
        def get() -> None:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, IfMatch=etag)
            with closing(answer["Body"]) as stream, path.open("wb") as file:
                for part in stream.iter_chunks(_PART):
                    file.write(part)

        try:
            await call(self._io, get)
        except Refused as error:
            if is_code(error, "PreconditionFailed", "412"):
                raise Changed(f"{key} is not what it was") from error
            raise

    async def stat(self, key: str) -> ObjectInfo:
        try:
            answer = await call(self._io, self._client.head_object, Bucket=self._bucket, Key=key)
        except PikError as error:
            if not is_code(error, "404", "NoSuchKey"):
                raise
            # a HEAD has no body that would say which of the two is missing
            await self._check_bucket()
            raise NoSuchObject(f"there is no object {key}") from error
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"], instant_of(answer["LastModified"]))

    async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        request: Any = {"Bucket": self._bucket, "Prefix": prefix}
        if start_after:
            request["StartAfter"] = start_after
        while True:
            page = await call(self._io, self._client.list_objects_v2, **request)
            for found in page.get("Contents", []):
                yield ObjectInfo(
                    found["Key"], found["Size"], found["ETag"], instant_of(found["LastModified"])
                )
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    async def _put(self, key: str, body: bytes, **options: Any) -> Any:
        put: Any = self._client.put_object
        return await call(self._io, put, Bucket=self._bucket, Key=key, Body=body, **options)

    async def _check_bucket(self) -> None:
        try:
            await call(self._io, self._client.head_bucket, Bucket=self._bucket)
        except PikError as error:
            if is_code(error, "404", "NoSuchBucket"):
                raise NoSuchBucket(f"there is no bucket {self._bucket}") from error
            raise

    def _locked(self, key: str) -> dict[str, Any]:
        if self._lock is None or not key.startswith(self._lock.prefix):
            return {}
        until = self._clock.now().to_datetime() + timedelta(days=self._lock.days)
        return {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}
