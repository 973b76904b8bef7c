"""`pik import`: into a stream by either way, the same bytes; what is not taken is in a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from cli.desks import Office, lines, manifest
from pik.cli.sending import Captured, Posted, Sender
from pik.controller.intake_rules import intake_rules
from pik.domain.errors import Refused
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.capture.answers import Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.importing.imports import read_file
from pik.gateway.app import Gateway
from pik.gateway.doors import Door
from pik.memory.system import InlineOffload

MAPPING: dict[str, Any] = {
    "mapping": {
        "source": {"value": "readings"},
        "eventType": {"value": "reading"},
        "entityID": {"paths": ["sensor"]},
        "eventTime": {"paths": ["at"]},
        "idempotencyKey": {"join": {"paths": ["sensor", "at"]}},
    }
}
CSV = """sensor,at,value,note
a,2013-07-10T04:00:00Z,1.50,"first, of all"
a,2013-07-10T05:00:00Z,007,
b,2013-07-10T05:00:00Z,1e400,"two
lines"
b,yesterday,2,
"""
EVENTS = [
    {
        "source": "s",
        "event_type": "t",
        "entity_id": "e",
        "event_time": "2013-07-10T06:00:00+02:00",
        "payload": 1,
    },
    {
        "source": "s",
        "event_type": "t",
        "entity_id": "e",
        "event_time": "2013-07-10T04:00:00.123456789Z",
        "payload": {"é": [1.0, None]},
        "idempotency_key": "k",
        "trace": "x",
        "n": 1.50,
    },
]
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "e"}
CLOUD_EVENT |= {"time": "2013-07-10T04:00:00Z", "data": {"a": 1}, "extra": "y"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    return path


def test_rows_are_captured_and_those_that_are_no_events_written_down(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    office = Office(tmp_path, manifest(**MAPPING))
    result = office.run("import", str(rows), "--stream", "things")
    assert result.exit_code == 1, result.output
    assert lines(result)[0].startswith("4 records in ")
    assert lines(result)[0].endswith(": 3 ACCEPTED, 1 REJECTED.")
    [reject] = map(json.loads, (tmp_path / "rows.csv.rejects.ndjson").read_text().splitlines())
    assert (reject["file"], reject["line"], reject["reason"]) == ("rows.csv", 6, "InvalidTime")
    assert reject["text"].startswith("b,yesterday")


def test_a_second_time_all_are_duplicates(tmp_path: Path, rows: Path) -> None:
    rows.write_text("\n".join(CSV.split("\n")[:3]))
    office = Office(tmp_path, manifest(**MAPPING))
    assert office.ask("import", str(rows), "--stream", "things")["answers"]["ACCEPTED"] == 2
    again = office.ask("import", str(rows), str(rows), "--stream", "things")
    assert (again["records"], again["answers"]["DUPLICATE"], again["rejects"]) == (4, 4, None)


def test_a_damaged_file_ends_with_a_line_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(b"not gzip")
    result = Office(tmp_path, manifest(**MAPPING)).run("import", str(path), "--stream", "things")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: rows.csv.gz: cannot be read")


def kept(office: Office, rules: IntakeRules, events: list[Decoded], over_http: bool) -> list[Any]:
    """What is stored of the events, sent by either way."""

    async def run() -> list[Any]:
        stream = office.stream()
        capture = Capture(stream)
        claims = ReplayClaims(lambda _: stream)
        door = Door(rules, capture, claims, InlineOffload())
        transport = httpx.ASGITransport(Gateway(lambda *_: door))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://pik") as client:
            posted = Posted(client, "http://pik/v1/streams/tests/things/events", rules)
            sender: Sender = posted if over_http else Captured(capture, claims)
            answers = await sender.send(events)
        await capture.close()
        assert {answer.status for answer in answers} == {Status.ACCEPTED}
        assert [answer.event_id for answer in answers] == [event.arrival.event_id for event in events]
        found = []
        async for info in stream.objects.list(stream.layout.raw):
            _, rows = stream.codec.decode((await stream.objects.read(info.key)).body)
            found += [row.arrival for row in rows]
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("form", ["rows", "events"])
def test_both_ways_store_the_same(tmp_path: Path, rows: Path, form: str) -> None:
    if form == "rows":
        rules, path = intake_rules(manifest(**MAPPING).spec), rows
    else:
        rules, path = IntakeRules(), tmp_path / "events.ndjson"
        path.write_text("".join(f"{json.dumps(event)}\n" for event in [*EVENTS, CLOUD_EVENT]))
    [batch] = read_file(path, rules)
    assert len(batch.events) == 3
    by_http = kept(Office(tmp_path / "http"), rules, batch.events, over_http=True)
    by_itself = kept(Office(tmp_path / "own"), rules, batch.events, over_http=False)
    assert by_http == by_itself == [event.arrival for event in batch.events]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_what_may_pass_is_sent_again(tmp_path: Path, rows: Path, status: int) -> None:
    [batch] = read_file(rows, intake_rules(manifest(**MAPPING).spec))
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        if len(asked) < 3:
            return httpx.Response(status, headers={"retry-after": "0"}, json={"error": {"message": "busy"}})
        told = [{"status": "ACCEPTED", "event_id": event.arrival.event_id} for event in batch.events]
        return httpx.Response(200, json={"answers": told})

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await Posted(client, "http://pik/x", intake_rules(manifest(**MAPPING).spec)).send(batch.events)

    with stamina.set_testing(True, attempts=3, cap=True):
        asyncio.run(run())
    assert len(asked) == 3
    assert len(set(asked)) == 1


def test_what_cannot_pass_is_not_sent_again(rows: Path) -> None:
    rules = intake_rules(manifest(**MAPPING).spec)
    [batch] = read_file(rows, rules)
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, json={"error": {"message": "there is no CaptureStream"}})

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await Posted(client, "http://pik/x", rules).send(batch.events)

    with pytest.raises(Refused, match="404: there is no CaptureStream"):
        asyncio.run(run())
    assert len(asked) == 1


def test_a_batch_larger_than_a_request_is_halved(rows: Path) -> None:
    rules = IntakeRules(max_batch_bytes=100, mapping=intake_rules(manifest(**MAPPING).spec).mapping)
    [batch] = read_file(rows, intake_rules(manifest(**MAPPING).spec))
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(len(request.content))
        count = len(request.content.split(b"\n"))
        return httpx.Response(200, json={"answers": [{"status": "ACCEPTED", "event_id": "x"}] * count})

    async def run() -> int:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return len(await Posted(client, "http://pik/x", rules).send(batch.events))

    assert asyncio.run(run()) == 3
    assert max(sizes) <= 100
