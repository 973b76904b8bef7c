"""What runs have written to a place in S3, read again: `sinks.s3` in reverse."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq

from pik.api.targets import S3Format
from pik.domain.errors import Tampered
from pik.planning.replay.messages import Messages
from pik.ports.objects import ObjectStore
from pik.ports.system import Offload
from pik.sinks.s3 import ndjson

_DIGEST = pa.binary()


class S3ReadBack:
    """`ports.ReadBack`. Parameters as of `S3Sink`. Of Parquet the stable key and the payload count, of NDJSON
    the whole line."""

    def __init__(self, objects: ObjectStore, prefix: str, form: S3Format, offload: Offload) -> None:
        self._objects = objects
        self._prefix = prefix
        self._form = form
        self._offload = offload

    def digests(self, messages: Messages) -> pa.BinaryArray:
        if self._form is S3Format.NDJSON:
            return _of_lines(ndjson(messages))
        return _of_rows(messages.keys.to_pylist(), messages.events.column("data").to_pylist())

    async def found(self, run_id: str, put: Callable[[pa.BinaryArray], None]) -> None:
        async for info in self._objects.list(f"{self._prefix}/run={run_id}/"):
            stored = await self._objects.read(info.key)
            await self._offload(self._put, info.key, stored.body, put)

    def _put(self, key: str, body: bytes, put: Callable[[pa.BinaryArray], None]) -> None:
        if self._form is S3Format.NDJSON:
            put(_of_lines(body))
            return
        try:
            rows = pq.read_table(pa.BufferReader(body), columns=["replay_key", "data"])
        except (pa.ArrowException, OSError, KeyError) as error:
            raise Tampered(f"{key} is not what a replay writes: {error}") from error
        if rows.num_columns != 2:
            raise Tampered(f"{key} is not what a replay writes: it lacks columns")
        put(_of_rows(rows.column("replay_key").to_pylist(), rows.column("data").to_pylist()))


def _of_rows(keys: list[str], payloads: list[str]) -> pa.BinaryArray:
    pairs = zip(keys, payloads, strict=True)
    return pa.array([sha256(f"{key}\n{payload}".encode()).digest() for key, payload in pairs], _DIGEST)


def _of_lines(body: bytes) -> pa.BinaryArray:
    return pa.array([sha256(line).digest() for line in body.split(b"\n") if line], _DIGEST)
