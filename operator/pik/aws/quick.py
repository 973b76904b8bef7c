"""The few calls that every commit makes, by a shorter way than botocore's.

botocore spends most of a call's CPU on its models, events and parsers. Here a request is put together by
hand, signed by botocore's signer, and sent over the client's own connections, with their proxies,
certificates and timeouts. Only what went well, what did not meet its condition, and that there is no such
object, is an answer. For anything else (no answer, throttled, redirected, denied, damaged) the whole client
is asked then, which knows what to do about it: such a call is made once more, as botocore itself repeats
calls.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import percent_encode

from pik.aws.observing import AwsObserver, result_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_UNMET = ("ConditionalCheckFailedException", "TransactionCanceledException")
_CHECKSUM = "x-amz-checksum-crc32"
_GLOBAL = ".s3.amazonaws.com/"
_NO_KEY = b"<Code>NoSuchKey</Code>"


class _Lane:
    """Signed requests over one client's connections."""

    def __init__(
        self,
        client: Any,
        credentials: Credentials | None,
        signer: type[SigV4Auth],
        observer: AwsObserver | None,
    ) -> None:
        self._connections = client._endpoint.http_session
        self._service: str = client.meta.service_model.service_name
        self._region: str = client.meta.region_name
        self._agent: str = client.meta.config.user_agent or "pik"
        self._credentials = credentials
        self._signer = signer
        self._observer = observer

    def send(
        self,
        operation: str,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        parse: Callable[[AWSResponse], dict[str, Any]],
    ) -> dict[str, Any] | None:
        """What `parse` makes of the answer; None where there was none, or one that nothing can be made of."""
        if self._credentials is None:
            return None
        began = time.perf_counter()
        status, parsed = 0, None
        request = AWSRequest(method, url, {"User-Agent": self._agent, **headers}, body)
        # of credentials and connections: the whole client meets them too, and says so
        with suppress(BotoCoreError, msgspec.DecodeError):
            signer = self._signer(self._credentials.get_frozen_credentials(), self._service, self._region)
            signer.add_auth(request)
            answer = self._connections.send(request.prepare())
            if _is_whole(answer):
                status, parsed = answer.status_code, parse(answer)
        if self._observer is not None:
            seconds = time.perf_counter() - began
            self._observer.answered(self._service, operation, result_of(parsed, status), seconds, 1)
        return parsed


class QuickDynamoDB:
    """The operations of a DynamoDB client that `DynamoTable` needs, as botocore's methods of these names."""

    def __init__(
        self, client: DynamoDBClient, credentials: Credentials | None, observer: AwsObserver | None = None
    ) -> None:
        self._client = client
        self._lane = _Lane(client, credentials, SigV4Auth, observer)
        self._url = f"{client.meta.endpoint_url.rstrip('/')}/"
        self.scan = client.scan

    def get_item(self, **asked: Any) -> Any:
        return self._call("GetItem", self._client.get_item, asked)

    def put_item(self, **asked: Any) -> Any:
        return self._call("PutItem", self._client.put_item, asked)

    def delete_item(self, **asked: Any) -> Any:
        return self._call("DeleteItem", self._client.delete_item, asked)

    def query(self, **asked: Any) -> Any:
        return self._call("Query", self._client.query, asked)

    def batch_get_item(self, **asked: Any) -> Any:
        return self._call("BatchGetItem", self._client.batch_get_item, asked)

    def batch_execute_statement(self, **asked: Any) -> Any:
        return self._call("BatchExecuteStatement", self._client.batch_execute_statement, asked)

    def transact_write_items(self, **asked: Any) -> Any:
        return self._call("TransactWriteItems", self._client.transact_write_items, asked)

    def _call(self, operation: str, whole: Callable[..., Any], asked: dict[str, Any]) -> Any:
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
        }
        answer = self._lane.send(
            operation, "POST", self._url, headers, msgspec.json.encode(asked), _dynamodb_answer
        )
        if answer is None:
            return whole(**asked)
        if "Error" not in answer:
            return answer
        if answer["Error"]["Code"] in _UNMET:
            raise ClientError(answer, operation)  # type: ignore[arg-type]
        return whole(**asked)


class QuickS3:
    """The operations of an S3 client that `S3ObjectStore` needs, as botocore's methods of these names."""

    def __init__(
        self, client: S3Client, credentials: Credentials | None, observer: AwsObserver | None = None
    ) -> None:
        self._client = client
        self._lane = _Lane(client, credentials, S3SigV4Auth, observer)
        self._buckets: dict[str, str] = {}
        self.head_object = client.head_object
        self.head_bucket = client.head_bucket
        self.list_objects_v2 = client.list_objects_v2

    def put_object(self, **asked: Any) -> Any:
        if asked.keys() != {"Bucket", "Key", "Body", "ContentType", "IfNoneMatch"}:
            return self._client.put_object(**asked)
        headers = {
            "Content-Type": asked["ContentType"],
            "If-None-Match": asked["IfNoneMatch"],
            _CHECKSUM: _checksum(asked["Body"]),
        }
        url = self._url(asked["Bucket"], asked["Key"])
        answer = self._lane.send("PutObject", "PUT", url, headers, asked["Body"], _s3_answer)
        if answer is not None and "Error" in answer:
            raise ClientError(_s3_error(answer), "PutObject")
        if answer is None or answer["status"] != HTTPStatus.OK:
            return self._client.put_object(**asked)
        return {"ETag": answer["headers"].get("etag"), "ResponseMetadata": _s3_metadata(answer)}

    def get_object(self, **asked: Any) -> Any:
        if asked.keys() > {"Bucket", "Key"}:
            return self._client.get_object(**asked)
        url = self._url(asked["Bucket"], asked["Key"])
        headers = {"x-amz-checksum-mode": "ENABLED"}
        answer = self._lane.send("GetObject", "GET", url, headers, b"", _s3_answer)
        if answer is not None and "Error" in answer:
            raise ClientError(_s3_error(answer), "GetObject")
        if answer is None or answer["status"] != HTTPStatus.OK:
            return self._client.get_object(**asked)
        found = answer["headers"]
        if not {"last-modified", "etag"} <= found.keys():  # something between here and S3 took them away
            return self._client.get_object(**asked)
        modified = parsedate_to_datetime(found["last-modified"])
        return {"Body": BytesIO(answer["content"]), "ETag": found["etag"], "LastModified": modified}

    def _url(self, bucket: str, key: str) -> str:
        """botocore says where the bucket is: how it is addressed depends on its name, region and endpoint."""
        if bucket not in self._buckets:
            signed = self._client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "x"})
            found = signed.partition("?")[0].removesuffix("x")
            if self._client.meta.region_name != "us-east-1":  # a signed URL is of the global endpoint
                regional = f".s3.{self._client.meta.region_name}.amazonaws.com/"
                found = found.removesuffix(_GLOBAL) + regional if found.endswith(_GLOBAL) else found
            self._buckets[bucket] = found
        path: str = percent_encode(key, safe="/~")
        return self._buckets[bucket] + path


def _s3_metadata(answer: dict[str, Any]) -> Any:
    return {"HTTPStatusCode": answer["status"], "HTTPHeaders": answer["headers"]}


def _s3_error(answer: dict[str, Any]) -> Any:
    """As botocore's client has it."""
    return {"Error": answer["Error"], "ResponseMetadata": _s3_metadata(answer)}


def _is_whole(answer: AWSResponse) -> bool:
    """By its length and checksums, where it says them."""
    headers, content = answer.headers, answer.content
    length, dynamodb, s3 = (headers.get(name) for name in ("content-length", "x-amz-crc32", _CHECKSUM))
    return (
        (length is None or int(length) == len(content))
        and (dynamodb is None or int(dynamodb) == crc32(content))
        and (s3 is None or s3 == _checksum(content))
    )


def _checksum(content: bytes) -> str:
    return b64encode(crc32(content).to_bytes(4)).decode()


def _dynamodb_answer(answer: AWSResponse) -> dict[str, Any]:
    """As botocore's client has it: an answer, or an error with what came beside it."""
    parsed: dict[str, Any] = msgspec.json.decode(answer.content)
    status = answer.status_code
    if status == HTTPStatus.OK:
        return parsed
    name = str(parsed.get("__type", "")).rpartition("#")[2]
    message = parsed.get("message") or parsed.get("Message") or ""
    error = {"Code": name, "Message": message}
    return {**parsed, "Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}


def _s3_answer(answer: AWSResponse) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    status = answer.status_code
    found = {"status": status, "headers": headers, "content": answer.content}
    if status == HTTPStatus.PRECONDITION_FAILED:
        found["Error"] = {"Code": "PreconditionFailed", "Message": "there is an object at the key"}
    if status == HTTPStatus.NOT_FOUND and _NO_KEY in answer.content:
        found["Error"] = {"Code": "NoSuchKey", "Message": "there is no object at the key"}
    return found
