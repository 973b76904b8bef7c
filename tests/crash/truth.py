"""A stream's bucket as anybody can read it who has read `docs/storage.md`: with boto3, pyarrow and json.

Nothing of pik is imported here: what the campaign proves must not rest on the code that it is about.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

import pyarrow.parquet as pq

_SEGMENT = re.compile(r"([0-9a-f]{32})\.g(\d{8,})\.parquet$")
_CHUNK = re.compile(r"(\d{4})/(\d{8})\.(intent|outcome)(?:\.\d+)?\.(?:json|ndjson)$")


class Bucket(Protocol):
    def keys(self, prefix: str) -> list[str]:
        """All of them, in order."""
        ...

    def read(self, key: str) -> bytes: ...

    def rewritten(self, prefix: str) -> list[str]:
        """Keys that have had more than one content, or have been deleted."""
        ...


@dataclass(frozen=True)
class S3Bucket:
    """A bucket with versioning."""

    client: Any
    name: str

    def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def read(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def rewritten(self, prefix: str) -> list[str]:
        times: Counter[str] = Counter()
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix)
        for page in pages:
            times.update(each["Key"] for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])])
        return [key for key, count in times.items() if count > 1]


@dataclass
class Snapshot:
    """A bucket as it was."""

    objects: dict[str, bytes]
    twice: list[str] = field(default_factory=list)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def read(self, key: str) -> bytes:
        return self.objects[key]

    def rewritten(self, prefix: str) -> list[str]:
        return [key for key in self.twice if key.startswith(prefix)]


def copied(bucket: Bucket) -> Snapshot:
    return Snapshot({key: bucket.read(key) for key in bucket.keys("")}, bucket.rewritten(""))


@dataclass(frozen=True)
class Row:
    """An arrival. `place`: orders arrivals as they came."""

    key: str
    number: int
    place: tuple[Any, ...]
    event_id: str
    outcome: str
    winner: str | None
    values: Mapping[str, Any]
    data: bytes


@dataclass(frozen=True)
class Raw:
    """`rows`: by object and number. `counting`: the objects of segments that count."""

    rows: dict[tuple[str, int], Row]
    counting: set[str]

    def events(self, *, deciding: bool) -> tuple[dict[str, Row], list[str]]:
        """The arrival that is the event, by event id; and the ids that have two where there may be one."""
        found: dict[str, Row] = {}
        twice = []
        for row in sorted(self.rows.values(), key=lambda row: row.place):
            if row.key not in self.counting or row.outcome != ("ACCEPTED" if deciding else "RECORDED"):
                continue
            if row.event_id in found:
                twice.append(row.event_id)
            found.setdefault(row.event_id, row)
        return found, twice if deciding else []


def read_raw(bucket: Bucket, prefix: str, stream_id: str) -> Raw:
    """Every object under `raw/`, and the rule of what counts."""
    newest = json.loads(bucket.read(bucket.keys(f"{prefix}generations/")[-1]))
    listed = {(each["id"], each["generation"]) for each in newest["counting"]}
    rows: dict[tuple[str, int], Row] = {}
    counting = set()
    for key in bucket.keys(f"{prefix}raw/stream={stream_id}/"):
        named = _SEGMENT.search(key)
        if named is None:
            raise ValueError(f"not a segment: {key}")
        segment, generation = named[1], int(named[2])
        if generation == newest["number"] or (segment, generation) in listed:
            counting.add(key)
        table = pq.read_table(io.BytesIO(bucket.read(key)), page_checksum_verification=True)
        for values in table.to_pylist():
            place = (values["ingest_time"], segment, generation, values["row"])
            rows[key, values["row"]] = Row(
                key, values["row"], place, values["event_id"], values["outcome"], values["winner"], values,
                values["data"].encode(),
            )  # fmt: skip
    return Raw(rows, counting)


def event_id(source: str, key: str) -> str:
    """RFC 8785 of an array of texts without control characters is this."""
    text = json.dumps(["pik/1", "key", source, key], separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def fingerprint(kind: str, entity: str, time: str, payload: bytes) -> str:
    """`time`: UTC with six digits after the point."""
    head = json.dumps([kind, entity, time], separators=(",", ":"), ensure_ascii=False)
    return sha256(head.encode() + b"\n" + payload).hexdigest()


@dataclass
class Chunk:
    """`intents`: how often it was begun. `lines`: of its outcome, None where it has none."""

    intents: int = 0
    in_doubt: bool = False
    lines: list[dict[str, Any]] | None = None

    @property
    def named(self) -> bool:
        """Whether the ledger says that some of it may have been sent more than once."""
        return self.in_doubt or self.intents > 1 or self.lines is None


@dataclass(frozen=True)
class Ledger:
    """What a run left. `chunks`: by shard and number."""

    chunks: dict[tuple[int, int], Chunk]
    end: dict[str, Any] | None


def read_ledger(bucket: Bucket, prefix: str, run_id: str) -> Ledger:
    root = f"{prefix}runs/{run_id}/"
    chunks: dict[tuple[int, int], Chunk] = {}
    for key in bucket.keys(f"{root}shards/"):
        named = _CHUNK.search(key)
        if named is None:
            continue
        chunk = chunks.setdefault((int(named[1]), int(named[2])), Chunk())
        if named[3] == "intent":
            chunk.intents += 1
        else:
            head, *lines = map(json.loads, bucket.read(key).splitlines())
            for line in lines:  # a key that follows from the event and the run is not written down
                line.setdefault("key", f"{line['event_id']}.{run_id[:16]}")
            chunk.in_doubt, chunk.lines = head["in_doubt"], lines
    end = f"{root}end.json"
    return Ledger(chunks, json.loads(bucket.read(end)) if end in bucket.keys(end) else None)


def data_of(body: bytes) -> bytes:
    """The bytes of a CloudEvent's `data`, as they stand in it."""
    text, decoder = body.decode(), json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at = _past(text, at, " \t\r\n,")
        name, at = decoder.raw_decode(text, at)
        at = _past(text, at, " \t\r\n:")
        _, end = decoder.raw_decode(text, at)
        if name == "data":
            return text[at:end].encode()
        at = end


def _past(text: str, at: int, signs: str) -> int:
    while text[at] in signs:
        at += 1
    return at
