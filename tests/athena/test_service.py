# ruff: noqa: N803 - boto3's names
"""The adapter over answers that the emulator does not give: results as an object, pages, failures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from pik.aws.athena import AthenaQueries
from pik.domain.errors import Denied, NoSuchObject, Throttled
from pik.memory.system import InlineOffload
from pik.ports.queries import QueryState, QueryStatus

CSV = b'"n","text"\n"1","x61"\n"2",\n'


class FakeAthena:
    def __init__(self) -> None:
        self.execution: dict[str, Any] = {
            "Status": {"State": "SUCCEEDED"},
            "Statistics": {"DataScannedInBytes": 7},
            "ResultConfiguration": {"OutputLocation": "s3://results/of/q.csv"},
        }
        self.pages: list[list[list[str | None]]] = []
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.error: ClientError | None = None

    def start_query_execution(self, **parameters: Any) -> dict[str, Any]:
        self.raised()
        self.started.append(parameters)
        return {"QueryExecutionId": "q"}

    def get_query_execution(self, QueryExecutionId: str) -> dict[str, Any]:
        self.raised()
        assert QueryExecutionId == "q"
        return {"QueryExecution": self.execution}

    def stop_query_execution(self, QueryExecutionId: str) -> None:
        self.stopped.append(QueryExecutionId)

    def get_query_results(self, *, MaxResults: int, NextToken: str = "0", **_: Any) -> dict[str, Any]:
        assert MaxResults == 1000
        if not self.pages:
            raise refusal("InvalidRequestException", "Could not find results")
        at = int(NextToken)
        rows = [
            {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]}
            for row in self.pages[at]
        ]
        more = {"NextToken": str(at + 1)} if at + 1 < len(self.pages) else {}
        return {"ResultSet": {"Rows": rows}, **more}

    def raised(self) -> None:
        if self.error is not None:
            raise self.error


class FakeS3:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if (Bucket, Key) not in self.objects:
            raise refusal("NoSuchKey", "gone")
        body = self.objects[Bucket, Key]
        return {"Body": StreamingBody(BytesIO(body), len(body))}


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Anything")


@pytest.fixture
def athena() -> FakeAthena:
    return FakeAthena()


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


@pytest.fixture
def queries(athena: FakeAthena, s3: FakeS3) -> AthenaQueries:
    return AthenaQueries(athena, s3, InlineOffload(), work_group="cheap", output="s3://bucket/p/athena/")


async def test_athena_gets_the_text_as_it_is(queries: AthenaQueries, athena: FakeAthena) -> None:
    assert await queries.start("SELECT 1", "t" * 64) == "q"
    assert athena.started == [
        {
            "QueryString": "SELECT 1",
            "ClientRequestToken": "t" * 64,
            "WorkGroup": "cheap",
            "ResultConfiguration": {"OutputLocation": "s3://bucket/p/athena/"},
        }
    ]


async def test_the_object_of_a_result(queries: AthenaQueries, s3: FakeS3, tmp_path: Path) -> None:
    s3.objects["results", "of/q.csv"] = CSV
    await queries.fetch("q", tmp_path / "rows")
    assert (tmp_path / "rows").read_bytes() == CSV


@pytest.mark.parametrize("managed", [False, True])
async def test_pages_where_there_is_none(
    queries: AthenaQueries, athena: FakeAthena, tmp_path: Path, managed: bool
) -> None:
    """It is gone, or the work group keeps results itself."""
    if managed:
        athena.execution["ResultConfiguration"] = {}
    athena.pages = [[["n", "text"], ["1", "x61"]], [["2", None]]]
    await queries.fetch("q", tmp_path / "rows")
    assert (tmp_path / "rows").read_text().splitlines() == ["n,text", "1,x61", "2,"]


async def test_a_result_that_is_gone(queries: AthenaQueries, tmp_path: Path) -> None:
    with pytest.raises(NoSuchObject, match="the result of query q is gone"):
        await queries.fetch("q", tmp_path / "rows")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"State": "QUEUED"}, QueryStatus(QueryState.WAITING, bytes_scanned=7)),
        ({"State": "CANCELLED"}, QueryStatus(QueryState.CANCELLED, bytes_scanned=7)),
        (
            {"State": "FAILED", "StateChangeReason": "no", "AthenaError": {"Retryable": True}},
            QueryStatus(QueryState.FAILED, "no", may_succeed=True, bytes_scanned=7),
        ),
    ],
)
async def test_how_it_stands(
    queries: AthenaQueries, athena: FakeAthena, status: dict[str, Any], expected: QueryStatus
) -> None:
    athena.execution["Status"] = status
    assert await queries.status("q") == expected


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidRequestException", NoSuchObject),
        ("TooManyRequestsException", Throttled),
        ("AccessDeniedException", Denied),
    ],
)
async def test_errors_are_translated(
    queries: AthenaQueries, athena: FakeAthena, code: str, error: type[Exception]
) -> None:
    athena.error = refusal(code, "no")
    with pytest.raises(error):
        await queries.status("q")
