"""Where a stream lies, as far as rights go: by its spec and status, or by patterns where these do not say."""

from __future__ import annotations

import msgspec

from pik.api.capture_stream import CaptureStream, Deduplication
from pik.api.storage import BucketOrigin, DeletionPolicy, EncryptionType
from pik.planning.iam.feeds import Feed, feed_of
from pik.planning.storage import bucket_name, bucket_pattern, table_name

ANY = "*"


class Realm(msgspec.Struct, frozen=True):
    """Whose ARNs they are. Default: of any account and region."""

    partition: str = "aws"
    region: str = ANY
    account: str = ANY

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        return f"arn:{self.partition}:{service}:{region or self.region}:{self.account}:{resource}"

    def bucket(self, name: str) -> str:
        return f"arn:{self.partition}:s3:::{name}"


class Place(msgspec.Struct, frozen=True):
    """A stream, or all those whose names pik makes. `prefix`: without a slash at its end. `creates`: pik
    makes the bucket; `deletes`: and removes it with the object. `decides`: events are decided when they are
    written (OnWrite). `role`: that is assumed for it. `stream`: its namespace/name; empty: of all. `feed`:
    its functions and sources."""

    bucket: str = "pik-*"
    table: str = "pik-*"
    prefix: str = ANY
    region: str | None = None
    creates: bool = True
    deletes: bool = False
    locks: bool = False
    decides: bool = True
    kms_key: str | None = None
    role: str | None = None
    stream: str = ""
    feed: Feed = Feed()

    @property
    def outer(self) -> tuple[str, ...]:
        """Prefixes that it lies in, each with a slash at its end; the bucket itself is one, and empty."""
        parts = self.prefix.split("/")[:-1]
        return tuple("".join(f"{part}/" for part in parts[:end]) for end in range(len(parts) + 1))


def place_of(stream: CaptureStream, cluster: str | None) -> Place:
    """`cluster`: its name in owner records; None: it is not known, and neither are names that derive from
    it."""
    meta, spec, status = stream.metadata, stream.spec, stream.status
    storage = spec.storage
    bucket = None if status.storage is None else status.storage.bucket
    if bucket is None and cluster is not None:
        bucket = bucket_name(spec, cluster, meta.namespace, meta.name)
    table = None if status.index is None else status.index.table
    kms = storage.encryption.type is EncryptionType.KMS
    return Place(
        bucket=bucket or bucket_pattern(spec, meta.namespace, meta.name),
        table=table or table_name(spec, meta.name, status.streamID or ANY),
        prefix=storage.prefix,
        region=storage.region,
        creates=storage.bucket.origin is BucketOrigin.CREATE,
        deletes=storage.deletionPolicy is DeletionPolicy.DELETE,
        locks=storage.objectLock is not None,
        decides=spec.index.deduplication is Deduplication.ON_WRITE,
        kms_key=storage.encryption.kmsKeyARN if kms else None,
        role=spec.roleARN,
        stream=f"{meta.namespace}/{meta.name}",
        feed=feed_of(stream),
    )
