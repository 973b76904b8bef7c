"""Queries of a service that outlast a process: each is on record before it is waited for, so that whoever
goes on with an aggregate finds it again and starts no second one.

Under `aggregates/queries/<hash of what is asked>/`: `<round>-<step>-<try>.json`, a query;
`<round>-void.json`, that a round is of no use; `summary.json`, what the queries of an answer came to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import orjson

from pik.domain.errors import (
    AlreadyExists,
    Denied,
    Incomplete,
    NoSuchObject,
    PikError,
    QueryFailed,
    Refused,
    Unavailable,
    UnreadableValue,
)
from pik.domain.layout import Layout
from pik.execution.aggregate.records import AsOf
from pik.execution.documents import document
from pik.execution.stream import Stream
from pik.ports.queries import QueryService, QueryState, QueryStatus

_FIRST_LOOK = 0.2  # seconds until a query is looked at; half as much again each time
_LONGEST_LOOK = 5.0
_CANCELLED_TRIES = 3
_VOID = "void.json"
_SHOWN = 500  # characters of a service's words
_TOO_LARGE = ("NUMERIC_VALUE_OUT_OF_RANGE", "Decimal overflow", "Overflow in", "INVALID_CAST_ARGUMENT")
_DENIED = ("AccessDenied", "Access denied", "Insufficient permissions", "not authorized")


class QueryRecord(msgspec.Struct, frozen=True):
    """`<round>-<step>-<try>.json`"""

    query_id: str
    sql_sha256: str


class QuerySummary(msgspec.Struct, frozen=True):
    """`summary.json`: of the queries that an answer came from, in their order."""

    query_ids: tuple[str, ...]
    bytes_scanned: int


class Queries:
    """One round of the queries of one answer. `halted`: whether nobody wants the answer any more when the
    work is cancelled; then its query is stopped, and otherwise it goes on for whoever asks next."""

    def __init__(
        self, stream: Stream, service: QueryService, folder: str, number: int, halted: Callable[[], bool]
    ) -> None:
        self._stream = stream
        self._service = service
        self._prefix = f"{folder}{number:04d}-"
        self._halted = halted
        self.started = 0  # by this process
        self.ids: list[str] = []
        self.bytes_scanned = 0

    async def run(self, step: str, sql: str, file: Path) -> None:
        """Writes the rows into the file. Raises QueryFailed, UnreadableValue, Denied, Unavailable and
        Incomplete, as the query ended."""
        digest = sha256(sql.encode()).hexdigest()
        tries = await _keys(self._stream, f"{self._prefix}{step}-")
        if tries and await self._goes_on(tries[-1], digest, file):
            return
        key = f"{self._prefix}{step}-{len(tries):04d}.json"
        query_id = await self._start(key, sql, digest)
        status = await self._ended(query_id)
        if status is None or status.state is not QueryState.SUCCEEDED:
            raise _failure(query_id, step, status, len(tries))
        try:
            await self._service.fetch(query_id, file)
        except NoSuchObject as error:
            raise Incomplete(f"the result of query {query_id} is gone: {error}") from error
        self._done(query_id, status)

    async def void(self) -> None:
        """What this round found is of no use, to nobody."""
        with suppress(AlreadyExists):
            await self._stream.objects.create(f"{self._prefix}{_VOID}", b"{}")

    async def _goes_on(self, key: str, digest: str, file: Path) -> bool:
        """Whether the last query that an earlier process has begun comes to something. What it failed with,
        that process has said."""
        record = document(key, (await self._stream.objects.read(key)).body, QueryRecord)
        if record.sql_sha256 != digest:
            return False  # of another release
        status = await self._ended(record.query_id)
        if status is None or status.state is not QueryState.SUCCEEDED:
            return False
        try:
            await self._service.fetch(record.query_id, file)
        except NoSuchObject:
            return False
        self._done(record.query_id, status)
        return True

    def _done(self, query_id: str, status: QueryStatus) -> None:
        self.ids.append(query_id)
        self.bytes_scanned += status.bytes_scanned

    async def _start(self, key: str, sql: str, digest: str) -> str:
        # a token that is known with other words is refused, so it stands for all that is asked
        said = f"{self._stream.layout.stream_id} {key} {digest} {self._service.place}"
        token = sha256(said.encode()).hexdigest()
        starting = asyncio.ensure_future(self._service.start(sql, token))
        try:
            record = QueryRecord(await asyncio.shield(starting), digest)
        except asyncio.CancelledError:
            with suppress(PikError):  # a call that is under way has its effect
                await self._left(key, QueryRecord(await starting, digest))
            raise
        self.started += 1
        try:
            await self._stream.objects.create(key, msgspec.json.encode(record))
        except AlreadyExists:
            other = document(key, (await self._stream.objects.read(key)).body, QueryRecord)
            if other.query_id != record.query_id:
                await self._stop(record.query_id)
            return other.query_id
        except asyncio.CancelledError:
            await self._stop(record.query_id)  # nobody would find it again
            raise
        return record.query_id

    async def _left(self, key: str, record: QueryRecord) -> None:
        """A query that this process will not wait for: whoever goes on finds it, or nobody is to."""
        if self._halted():
            await self._stop(record.query_id)
        else:
            await self._stream.objects.create(key, msgspec.json.encode(record))

    async def _ended(self, query_id: str) -> QueryStatus | None:
        """How it ended. None: the service has forgotten it."""
        wait = _FIRST_LOOK
        try:
            while True:
                try:
                    status = await self._service.status(query_id)
                except NoSuchObject:
                    return None
                if status.state.is_final:
                    return status
                await self._stream.clock.sleep(wait)
                wait = min(wait * 1.5, _LONGEST_LOOK)
        except asyncio.CancelledError:
            if self._halted():
                await self._stop(query_id)
            raise

    async def _stop(self, query_id: str) -> None:
        """That it is stopped is final: what the service says of it afterwards is not looked at."""
        with suppress(Unavailable, Denied, Refused, NoSuchObject):
            await self._service.stop(query_id)


def queries_prefix(layout: Layout) -> str:
    """Of all records of queries."""
    return f"{layout.aggregates}queries/"


def folder_of(stream: Stream, definition_hash: str, known: AsOf) -> str:
    """Where the queries are recorded by which this is answered."""
    asked = orjson.dumps([definition_hash, msgspec.to_builtins(known)], option=orjson.OPT_SORT_KEYS)
    return f"{queries_prefix(stream.layout)}{sha256(asked).hexdigest()}/"


async def first_round(stream: Stream, folder: str) -> int:
    """The number of the first round that was not found to be void."""
    voids = [key for key in await _keys(stream, folder) if key.endswith(_VOID)]
    return max((int(key.removeprefix(folder)[:4]) + 1 for key in voids), default=0)


async def _keys(stream: Stream, prefix: str) -> list[str]:
    return [info.key async for info in stream.objects.list(prefix)]


async def keep_summary(stream: Stream, folder: str, summary: QuerySummary) -> None:
    """What was first kept stays."""
    with suppress(AlreadyExists):
        await stream.objects.create(f"{folder}summary.json", msgspec.json.encode(summary))


async def find_summary(stream: Stream, definition_hash: str, known: AsOf) -> QuerySummary | None:
    """None where no queries answered it."""
    key = f"{folder_of(stream, definition_hash, known)}summary.json"
    try:
        return document(key, (await stream.objects.read(key)).body, QuerySummary)
    except NoSuchObject:
        return None


def _failure(query_id: str, step: str, status: QueryStatus | None, tries: int) -> PikError:
    """`tries`: queries of this step before it."""
    name = f"query {query_id} ({step})"
    if status is None:
        return Incomplete(f"Athena does not know {name} any more")
    if status.state is QueryState.CANCELLED:
        # by another AggregateVersion that asks the same, say, and was suspended
        why = f"{name} was cancelled by somebody else"
        return Unavailable(why) if tries < _CANCELLED_TRIES else QueryFailed(why)
    reason = status.reason[:_SHOWN]
    if any(word in reason for word in _TOO_LARGE):
        return UnreadableValue(
            f"measures: a number becomes larger than the 38 digits that can be computed with exactly; fewer"
            f" decimal places, such as round(payload.amount, 2), leave more room ({name})"
        )
    if any(word in reason for word in _DENIED):
        return Denied(f"{name}: {reason}")
    if status.may_succeed:
        return Unavailable(f"{name}: {reason}")
    return QueryFailed(f"{name} failed: {reason}")
