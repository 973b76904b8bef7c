"""Athena as `ports.QueryService`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pik.aws.errors import call, is_code
from pik.domain.errors import NoSuchBucket, NoSuchObject, PikError
from pik.planning.trino.emulated import prelude
from pik.ports.queries import QueryState, QueryStatus
from pik.ports.system import Offload

_STATES = {
    "QUEUED": QueryState.WAITING,
    "RUNNING": QueryState.RUNNING,
    "SUCCEEDED": QueryState.SUCCEEDED,
    "FAILED": QueryState.FAILED,
    "CANCELLED": QueryState.CANCELLED,
}
_PAGE = 1_000  # rows of an answer, at most
_PIECE = 1 << 20  # bytes
_INVALID = "InvalidRequestException"


class AthenaQueries:
    """`athena`, `s3`: boto3's clients. `work_group`: in which queries run; `output`: `s3://bucket/prefix/`,
    where it says nothing else of where results go. `emulated`: an emulator runs the text by DuckDB, whose
    missing words are put in front of it."""

    def __init__(
        self, athena: Any, s3: Any, io: Offload, *, work_group: str, output: str, emulated: bool = False
    ) -> None:
        self._athena = athena
        self._s3 = s3
        self._io = io
        self._work_group = work_group
        self._output = output
        self.emulated = emulated
        self.place = f"{work_group} {output}"

    async def start(self, sql: str, token: str) -> str:
        answer = await call(
            self._io,
            self._athena.start_query_execution,
            QueryString=prelude() + sql if self.emulated else sql,
            ClientRequestToken=token,
            WorkGroup=self._work_group,
            ResultConfiguration={"OutputLocation": self._output},
        )
        query_id: str = answer["QueryExecutionId"]
        return query_id

    async def status(self, query_id: str) -> QueryStatus:
        found = await self._execution(query_id)
        status = found["Status"]
        return QueryStatus(
            state=_STATES[status["State"]],
            reason=status.get("StateChangeReason") or "",
            may_succeed=bool(status.get("AthenaError", {}).get("Retryable", False)),
            bytes_scanned=found.get("Statistics", {}).get("DataScannedInBytes", 0),
        )

    async def stop(self, query_id: str) -> None:
        await call(self._io, self._athena.stop_query_execution, QueryExecutionId=query_id)

    async def fetch(self, query_id: str, file: Path) -> None:
        """The result's object where there is one, else page by page: a work group may keep results itself."""
        location = (await self._execution(query_id)).get("ResultConfiguration", {}).get("OutputLocation", "")
        place = urlsplit(location)
        if place.scheme == "s3" and place.path.endswith(".csv"):
            try:
                return await call(self._io, self._download, place.netloc, place.path.lstrip("/"), file)
            except (NoSuchObject, NoSuchBucket):
                pass
        try:
            await call(self._io, self._page_through, query_id, file)
        except PikError as error:
            if is_code(error, _INVALID):
                raise NoSuchObject(f"the result of query {query_id} is gone: {error}") from error
            raise

    async def _execution(self, query_id: str) -> dict[str, Any]:
        try:
            answer = await call(self._io, self._athena.get_query_execution, QueryExecutionId=query_id)
        except PikError as error:
            if is_code(error, _INVALID):
                raise NoSuchObject(f"Athena knows no query {query_id}: {error}") from error
            raise
        found: dict[str, Any] = answer["QueryExecution"]
        return found

    def _download(self, bucket: str, key: str, file: Path) -> None:
        body = self._s3.get_object(Bucket=bucket, Key=key)["Body"]
        with file.open("wb") as sink:
            for piece in body.iter_chunks(_PIECE):
                sink.write(piece)

    def _page_through(self, query_id: str, file: Path) -> None:
        with file.open("w", newline="", encoding="utf-8") as sink:
            csv.writer(sink).writerows(self._rows(query_id))

    def _rows(self, query_id: str) -> Iterator[list[str | None]]:
        """All of them, the names first, as the first page has them."""
        parameters = {"QueryExecutionId": query_id, "MaxResults": _PAGE}
        while True:
            answer = self._athena.get_query_results(**parameters)
            for row in answer["ResultSet"]["Rows"]:
                yield [cell.get("VarCharValue") for cell in row["Data"]]
            if not answer.get("NextToken"):
                return
            parameters["NextToken"] = answer["NextToken"]
