"""Objects that lie in a bucket, read into a stream once each.

What was read whole is on record beside the raw data: an object without a body's worth of news, whose name
says all of it (`<which object>-<bytes>-<events>-<rejected>.json`), so that one listing tells how far it is.
The record is made when every event of the object is durable; an object that was cut off is read again from
its beginning, and what is there already is a repeat. An object that has changed is another object.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from pik.domain.errors import (
    AlreadyExists,
    Changed,
    Denied,
    Incomplete,
    NoSuchObject,
    Refused,
    UnreadableFile,
)
from pik.domain.intake import IntakeRules
from pik.execution.capture.answers import Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.importing.files import FileFormat
from pik.execution.importing.imports import read_file
from pik.execution.importing.progress import Objects, Progress
from pik.execution.importing.records import Batch, Reject
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream
from pik.ports.objects import ObjectInfo, ObjectStore

_ROWS = 5_000  # in a batch
_BYTES = 8 * 1024 * 1024
_KEPT_REJECTS = 1_000  # of one object
_KEPT_BYTES = 8 * 1024 * 1024
_FREE = 2  # times an object's size that the disk must have
_RECORD = re.compile(r"(?P<which>[0-9a-f]{32})-(?P<bytes>\d+)-(?P<events>\d+)-(?P<rejected>\d+)\.json$")
_SUFFIXES = {FileFormat.CSV: ".csv", FileFormat.NDJSON: ".ndjson", FileFormat.PARQUET: ".parquet"}


class _Record(msgspec.Struct, frozen=True):
    """What the object of a record says: which object it stands for."""

    key: str
    etag: str
    size: int
    events: int
    rejected: int
    rejects: list[Reject]  # the first of them


async def backfill(
    stream: Stream,
    capture: Capture,
    claims: ReplayClaims,
    rules: IntakeRules,
    source: ObjectStore,
    wanted: Objects,
    tell: Callable[[Progress], None],
    turn: AbstractAsyncContextManager[object],
) -> Progress:
    """Reads every object under the prefix that is not on record, in key order. `tell`: gets the progress
    after each. `turn`: held while one is read, which lies on this machine's disk then.

    Raises `UnreadableFile` for objects that are not what their format says, that have no event in them or
    that may not be read, after all others have been read; and what capture and AWS raise. Begun again it goes
    on.
    """
    done, known = await _on_record(stream, wanted.name)
    listed = [info async for info in source.list(wanted.prefix) if info.size]
    pending = [info for info in listed if _which(wanted, info) not in known]
    progress = msgspec.structs.replace(done, pending=len(pending))
    tell(progress)
    unreadable: list[str] = []
    for info in pending:
        try:
            async with turn:
                read = await _one(stream, capture, claims, rules, source, wanted, info)
        except (Changed, NoSuchObject):
            read = None  # it is another object now, or none: the next listing tells
        except UnreadableFile as error:
            unreadable.append(str(error))
            read = None
        except (Denied, Refused) as error:  # of this object: it is archived, say, or under another key
            unreadable.append(f"{info.key}: {error}")
            read = None
        progress = _after(progress, info, read)
        tell(progress)
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise UnreadableFile(f"{unreadable[0]}{more}")
    return progress


def _after(progress: Progress, info: ObjectInfo, read: tuple[int, int] | None) -> Progress:
    if read is None:
        return msgspec.structs.replace(progress, pending=progress.pending - 1)
    events, rejected = read
    return Progress(
        progress.objects + 1,
        progress.pending - 1,
        progress.bytes + info.size,
        progress.events + events,
        progress.rejected + rejected,
        info.key,
    )


async def _one(
    stream: Stream,
    capture: Capture,
    claims: ReplayClaims,
    rules: IntakeRules,
    source: ObjectStore,
    wanted: Objects,
    info: ObjectInfo,
) -> tuple[int, int]:
    """How many events and rejected records an object had, which are durable and on record then."""
    rejects: list[Reject] = []
    events = rejected = 0
    with TemporaryDirectory(prefix="pik-") as folder:
        await stream.offload(_check_room, Path(folder), info)
        path = Path(folder) / f"object{_SUFFIXES[wanted.format]}{'.gz' if wanted.gzipped else ''}"
        await source.save(info.key, path, info.etag)
        batches = read_file(path, rules, nulls=wanted.nulls, rows=_ROWS, max_bytes=_BYTES)
        try:
            while (batch := await stream.offload(_next, batches)) is not None:
                refused = [*batch.rejects, *await _taken(stream, capture, claims, batch)]
                events += len(batch.events) + len(batch.rejects) - len(refused)
                rejected += len(refused)
                kept = _kept(refused, _KEPT_BYTES - sum(map(_size, rejects)))
                rejects += kept[: _KEPT_REJECTS - len(rejects)]
        except UnreadableFile as error:
            raise UnreadableFile(f"{info.key}: {error}") from error
    if rejected and not events:
        first = rejects[0] if rejects else None
        why = "" if first is None else f", the first of them: {first.reason}: {first.message}"
        raise UnreadableFile(f"{info.key}: none of its {rejected} records is an event{why}")
    record = _Record(
        info.key,
        info.etag,
        info.size,
        events,
        rejected,
        [msgspec.structs.replace(reject, file=info.key) for reject in rejects],
    )
    key = f"{_records(stream, wanted.name)}{_which(wanted, info)}-{info.size}-{events}-{rejected}.json"
    with suppress(AlreadyExists):  # by a try whose answer was lost
        await stream.objects.create(key, await stream.offload(msgspec.json.encode, record))
    return events, rejected


async def _taken(stream: Stream, capture: Capture, claims: ReplayClaims, batch: Batch) -> Sequence[Reject]:
    """The events of a batch that were refused; all others are durable."""
    if not batch.events:
        return ()

    async def take() -> list[Reject]:
        answers = await capture.ingest(await claims.judge(batch.events))
        refused = []
        for event, line, answer in zip(batch.events, batch.lines, answers, strict=True):
            if answer.status is Status.REJECTED:
                text = event.arrival.data.decode()
                refused.append(Reject("", line, answer.reason or "", answer.message or "", text))
        return refused

    return await until_answered(stream.clock, Patience(), take)


async def _on_record(stream: Stream, name: str) -> tuple[Progress, set[str]]:
    """What was read, and which objects that were."""
    known: set[str] = set()
    progress = Progress()
    async for info in stream.objects.list(_records(stream, name)):
        found = _RECORD.search(info.key)
        if found is None:
            raise Incomplete(f"{info.key} is no record of an object that was read")
        if found["which"] in known:
            continue  # two processes read it at once
        known.add(found["which"])
        progress = Progress(
            progress.objects + 1,
            0,
            progress.bytes + int(found["bytes"]),
            progress.events + int(found["events"]),
            progress.rejected + int(found["rejected"]),
        )
    return progress, known


def _records(stream: Stream, name: str) -> str:
    return f"{stream.layout.sources}{name}/"


def _which(wanted: Objects, info: ObjectInfo) -> str:
    return sha256(f"{wanted.reading}\n{info.key}\n{info.etag}".encode()).hexdigest()[:32]


def _check_room(folder: Path, info: ObjectInfo) -> None:
    """Raises `UnreadableFile`."""
    free = shutil.disk_usage(folder).free
    if free < _FREE * info.size:
        raise UnreadableFile(f"it has {info.size} bytes, and this machine's disk only {free} to read it from")


def _kept(rejects: Sequence[Reject], room: int) -> list[Reject]:
    kept = []
    for reject in rejects:
        room -= _size(reject)
        if room < 0:
            break
        kept.append(reject)
    return kept


def _size(reject: Reject) -> int:
    return len(reject.text or "") + len(reject.base64 or b"")


def _next(batches: Iterator[Batch]) -> Batch | None:
    return next(batches, None)
