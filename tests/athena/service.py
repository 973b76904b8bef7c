"""Athena as the emulator plays it, without the emulator: DuckDB over the objects of a bucket in memory, with
every object under the table's location read, and no partition but by its folders."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Callable
from pathlib import Path

import duckdb

from pik.domain.errors import NoSuchObject
from pik.memory.objects import MemoryBucket
from pik.planning.trino.emulated import prelude
from pik.ports.queries import QueryState, QueryStatus

_TABLE = re.compile(r'"pik"\."stream_(\w+)"')


class DuckDBService:
    """`ports.QueryService`. `looks`: how often a query is looked at before it has ended. `fail`: how queries
    end that have this in their text; `before`: called with the text of each query before it is run."""

    emulated = True
    place = "here"

    def __init__(self, bucket: MemoryBucket, folder: Path, looks: int = 1) -> None:
        self._bucket = bucket
        self._folder = folder
        self.looks = looks
        self.texts: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.stopped: list[str] = []
        self.fail: dict[str, QueryStatus] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.gone: set[str] = set()  # queries whose results are
        self.started = asyncio.Event()
        self.hidden = 0  # files that are not seen
        self._left: dict[str, int] = {}
        self._ended: dict[str, QueryStatus] = {}
        self._results: dict[str, tuple[list[str], list[tuple[object, ...]]]] = {}

    async def start(self, sql: str, token: str) -> str:
        assert 32 <= len(token) <= 128
        query_id = f"query-{len(self.tokens)}"
        self.texts[query_id] = sql
        self.tokens[query_id] = token
        self._left[query_id] = self.looks
        self.started.set()
        return query_id

    async def status(self, query_id: str) -> QueryStatus:
        if query_id not in self.texts:
            raise NoSuchObject(query_id)
        if query_id in self._ended:
            return self._ended[query_id]
        self._left[query_id] -= 1
        if self._left[query_id] > 0:
            return QueryStatus(QueryState.RUNNING)
        self._ended[query_id] = self._run(query_id, self.texts[query_id])
        return self._ended[query_id]

    async def stop(self, query_id: str) -> None:
        self.stopped.append(query_id)
        self._ended.setdefault(query_id, QueryStatus(QueryState.CANCELLED))

    async def fetch(self, query_id: str, file: Path) -> None:
        if query_id in self.gone:
            raise NoSuchObject(f"the result of {query_id}")
        names, rows = self._results[query_id]
        with file.open("w", newline="", encoding="utf-8") as sink:
            writer = csv.writer(sink)
            writer.writerows([names, *rows])

    def finish(self) -> None:
        """What is under way ends when it is looked at."""
        self._left = dict.fromkeys(self._left, 0)

    def forget(self, query_id: str) -> None:
        """As Athena does after 45 days."""
        self._ended.pop(query_id)
        self.texts = {known: sql for known, sql in self.texts.items() if known != query_id}

    def _run(self, query_id: str, sql: str) -> QueryStatus:
        for part, status in self.fail.items():
            if part in sql:
                return status
        self.before(sql)
        named = _TABLE.search(sql)
        assert named is not None
        files = self._files(named[1])
        relation = f"read_parquet({files}, union_by_name = true, hive_partitioning = true,"
        relation += " hive_types = {'ingest_date': VARCHAR, 'hour': VARCHAR})"
        with duckdb.connect() as con:
            try:
                found = con.execute(prelude() + sql.replace(named[0], relation))
                rows = found.fetchall()
            except duckdb.Error as error:
                return QueryStatus(QueryState.FAILED, str(error))
        self._results[query_id] = ([name for name, *_ in found.description or []], rows)
        return QueryStatus(QueryState.SUCCEEDED, bytes_scanned=len(sql))

    def _files(self, stream_id: str) -> list[str]:
        found = []
        for key, stored in self._bucket.objects.items():
            _, raw, name = key.partition(f"raw/stream={stream_id}/")
            if raw:
                file = self._folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(stored.body)
                found.append(str(file))
        return sorted(found)[self.hidden :]
