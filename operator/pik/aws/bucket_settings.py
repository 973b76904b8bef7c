"""A bucket's settings: read with AWS's defaults made explicit, and changed one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pik.aws.errors import call, code, is_code, of_code, translated
from pik.domain.errors import BucketTaken, Denied, NoSuchBucket, PikError
from pik.planning.storage import OTHER_RULE, Encryption, LifecycleRule, ObservedBucket
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HOME_REGION = "us-east-1"  # where a bucket is made by naming no region
_KEYS = 1_000  # of a DeleteObjects
_MANAGED_KMS_KEY = "aws/s3"
# What AWS adds by itself to a rule that says nothing about it.
_SILENT: tuple[Any, ...] = ({}, None, [], "")


class BucketSettings:
    def __init__(self, client: S3Client, io: Offload) -> None:
        self._client = client
        self._io = io

    async def observe(self, bucket: str, *, whole: bool) -> ObservedBucket | None:
        try:
            return await call(self._io, self._observe, bucket, whole)
        except NoSuchBucket:
            return None

    def _observe(self, bucket: str, whole: bool) -> ObservedBucket:
        """All calls in one thread: from one to the other and back costs a fifth of a call."""
        s3 = self._client
        try:
            versioning = s3.get_bucket_versioning(Bucket=bucket)
        except ClientError as error:
            if isinstance(translated(error), Denied):
                raise Denied(f"no access to the bucket {bucket}, or it is another account's") from error
            raise
        blocked = self._get(s3.get_public_access_block, bucket, "NoSuchPublicAccessBlockConfiguration")
        return ObservedBucket(
            versioning=versioning.get("Status") == "Enabled",
            encryption=self._encryption(bucket),
            object_lock=self._locks(bucket) if whole else None,
            public_access_blocked=_all_blocked(blocked.get("PublicAccessBlockConfiguration", {})),
            rules={rule.get("ID", ""): _rule(rule) for rule in self._lifecycle(bucket)["Rules"]},
            tags=self._tags(bucket),
            empty=self._is_empty(bucket) if whole else None,
        )

    async def create(self, bucket: str, *, object_lock: bool) -> None:
        """Raises `BucketTaken`. One of our own account's is fine: the plan has looked at whose it is."""
        request: Any = {"Bucket": bucket, "ObjectLockEnabledForBucket": object_lock}
        if self._client.meta.region_name != _HOME_REGION:
            request["CreateBucketConfiguration"] = {"LocationConstraint": self._client.meta.region_name}
        try:
            await call(self._io, self._client.create_bucket, **request)
        except PikError as error:
            if is_code(error, "BucketAlreadyOwnedByYou"):
                return
            if is_code(error, "BucketAlreadyExists"):
                raise BucketTaken(f"another account has a bucket {bucket}: name another one") from error
            raise

    async def enable_versioning(self, bucket: str) -> None:
        await call(
            self._io,
            self._client.put_bucket_versioning,
            Bucket=bucket,
            VersioningConfiguration={"Status": "Enabled"},
        )

    async def encrypt(self, bucket: str, encryption: Encryption) -> None:
        key = encryption.kms_key
        default: Any = (
            {"SSEAlgorithm": "AES256"} if key is None else {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        )
        await call(
            self._io,
            self._client.put_bucket_encryption,
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": key is not None}
                ]
            },
        )

    async def enable_object_lock(self, bucket: str) -> None:
        await call(
            self._io,
            self._client.put_object_lock_configuration,
            Bucket=bucket,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"},
        )

    async def block_public_access(self, bucket: str) -> None:
        await call(
            self._io,
            self._client.put_public_access_block,
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )

    async def set_rules(self, bucket: str, rules: dict[str, LifecycleRule | None]) -> None:
        """Other rules are written back as they were read."""
        there = await call(self._io, self._lifecycle, bucket)
        kept = [rule for rule in there["Rules"] if rule.get("ID") not in rules]
        ours = [_raw_rule(id_, rule) for id_, rule in rules.items() if rule is not None]
        request: Any = {
            "Bucket": bucket,
            "LifecycleConfiguration": {"Rules": [*kept, *ours]},
        }
        if there.get("TransitionDefaultMinimumObjectSize"):
            request["TransitionDefaultMinimumObjectSize"] = there["TransitionDefaultMinimumObjectSize"]
        await call(self._io, self._client.put_bucket_lifecycle_configuration, **request)

    async def set_tags(self, bucket: str, tags: dict[str, str]) -> None:
        """Other tags are written back as they were read."""
        merged = {**await call(self._io, self._tags, bucket), **tags}
        await call(
            self._io,
            self._client.put_bucket_tagging,
            Bucket=bucket,
            Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in merged.items()]},
        )

    async def delete(self, bucket: str) -> None:
        try:
            while True:
                page = await call(self._io, self._client.list_object_versions, Bucket=bucket, MaxKeys=_KEYS)
                found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                if not found:
                    break
                doomed: Any = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                answer = await call(
                    self._io,
                    self._client.delete_objects,
                    Bucket=bucket,
                    Delete={"Objects": doomed, "Quiet": True},
                )
                for error in answer.get("Errors", []):
                    raise of_code(
                        error.get("Code", ""), f"{error.get('Key')}: {error.get('Message')}", status=200
                    )
            await call(self._io, self._client.delete_bucket, Bucket=bucket)
        except NoSuchBucket:
            return

    # what follows is called in a thread, and raises botocore's errors

    def _locks(self, bucket: str) -> bool:
        answer = self._get(
            self._client.get_object_lock_configuration, bucket, "ObjectLockConfigurationNotFoundError"
        )
        return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def _is_empty(self, bucket: str) -> bool:
        answer = self._client.list_object_versions(Bucket=bucket, MaxKeys=1)
        return not answer.get("Versions") and not answer.get("DeleteMarkers")

    def _encryption(self, bucket: str) -> Encryption:
        answer = self._get(
            self._client.get_bucket_encryption, bucket, "ServerSideEncryptionConfigurationNotFoundError"
        )
        rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        if default.get("SSEAlgorithm", "AES256") == "AES256":  # also where nothing was ever set
            return Encryption()
        return Encryption(default.get("KMSMasterKeyID", _MANAGED_KMS_KEY))

    def _lifecycle(self, bucket: str) -> dict[str, Any]:
        found = self._get(
            self._client.get_bucket_lifecycle_configuration, bucket, "NoSuchLifecycleConfiguration"
        )
        return {"Rules": [], **found}

    def _tags(self, bucket: str) -> dict[str, str]:
        answer = self._get(self._client.get_bucket_tagging, bucket, "NoSuchTagSet")
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", [])}

    def _get(self, method: Callable[..., Any], bucket: str, absent: str) -> dict[str, Any]:
        """The answer, or nothing where the error says that it was never set."""
        try:
            answer: dict[str, Any] = method(Bucket=bucket)
        except ClientError as error:
            if code(error) == absent:
                return {}
            raise
        return answer


def _all_blocked(configuration: dict[str, bool]) -> bool:
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return all(configuration.get(name) for name in names)


def _raw_rule(id_: str, rule: LifecycleRule) -> dict[str, Any]:
    raw: dict[str, Any] = {"ID": id_, "Status": "Enabled", "Filter": {"Prefix": rule.prefix}}
    if rule.expire_days is not None:
        raw["Expiration"] = {"Days": rule.expire_days}
    if rule.noncurrent_days is not None:
        raw["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule.noncurrent_days}
    if rule.abort_upload_days is not None:
        raw["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": rule.abort_upload_days}
    return raw


def _rule(raw: dict[str, Any]) -> LifecycleRule:
    prefix = raw.get("Filter", {}).get("Prefix", raw.get("Prefix", ""))
    rule = LifecycleRule(
        prefix,
        raw.get("Expiration", {}).get("Days"),
        raw.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"),
        raw.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    )
    said = {name: value for name, value in raw.items() if value not in _SILENT}
    return rule if said == _raw_rule(raw.get("ID", ""), rule) else OTHER_RULE
