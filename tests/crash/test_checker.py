"""The campaign's checker finds what is to be found: a true stream is harmed in one way after the other."""

from __future__ import annotations

import ast
import asyncio
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import crash.checker
import crash.clients
import crash.receivers
import crash.truth
from aggregate.questions import answer
from crash.checker import Evidence, Replay, check
from crash.clients import Event, Told
from crash.receivers import Delivery
from crash.truth import Snapshot, data_of
from pik.api.aggregate_version import TimeBucket
from pik.domain.decode import decode_event
from pik.domain.instants import parse_instant
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.run import run_replay
from pik.execution.replay.settings import ShardSettings
from pik.execution.seals import seal_segments
from pik.execution.stream import Deduplication
from pik.planning.definitions import Definition, Measure, WindowText
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Disposition, SinkTraits
from pik.ports.sinks import Delivery as Answer
from reading.streams import world
from replay.slices import begin, spec, tools

_CHUNK = 10


class Killed(BaseException):
    """The worker is gone."""


class Target:
    """Takes everything; its sender dies after so many calls."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self.calls = -1

    @property
    def traits(self) -> SinkTraits:
        return SinkTraits(1, 2**31, 1, TargetOrder.MESSAGE, None)

    async def send(self, batch: Batch) -> list[Answer]:
        self.got += [Delivery(message.key, bytes(message.body)) for message in batch.messages]
        self.calls -= 1
        if self.calls == 0:
            raise Killed
        return [Answer(Disposition.DELIVERED, "202") for _ in batch.messages]

    async def close(self) -> None: ...


def event(number: int, variant: int = 0) -> Event:
    delay = number + 1000 * variant
    payload = f'{{"n": {number}, "carrier":"{"AB"[number % 2]}","delay":{delay},"x":1.{number % 10}0}}'
    time = f"2026-01-01T{number % 3:02d}:00:{number % 60:02d}.000Z"
    return Event("departures", "flight", f"N{number % 7}", time, f"k-{number}", payload)


async def told(capture: Capture, events: Sequence[Event]) -> list[Told]:
    decoded = [decode_event(each.text.encode(), IntakeRules()) for each in events]
    arrivals = [each.arrival for each in decoded if isinstance(each, Decoded)]
    answers = await capture.ingest(arrivals)
    return [
        Told(each, str(said.status), said.event_id or "", said.s3_key or "", said.row or 0, said.winner, 1)
        for each, said in zip(events, answers, strict=True)
    ]


@pytest.fixture(scope="module", params=list(Deduplication))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return asyncio.run(_played(request.param, tmp_path_factory.mktemp("segments")))


@pytest.fixture
def true(whole: Evidence) -> Evidence:
    """A copy that may be harmed."""
    return replace(whole, bucket=Snapshot(dict(_objects(whole))))


async def _played(deduplication: Deduplication, directory: Path) -> Evidence:
    """Sixty events in three segments, ten repeated, ten with another payload; replayed by a worker that died
    in its third chunk, and by one that went on; sealed, and computed."""
    made = await world(directory, deduplication)
    capture = Capture(made.stream, CaptureSettings(max_rows=20))
    log = await told(capture, [event(n) for n in range(60)])
    log += await told(capture, [event(n) for n in range(10)])
    log += await told(capture, [event(n, 1) for n in range(10, 20)])
    await capture.close()
    made.clock.advance(600)
    await seal_segments(made.stream, settle=0)
    target, selector = Target(), DuckDBSelector(made.stream, str)
    window = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    plan = await begin(made.stream, selector, spec(select={"window": window}))
    settings = ShardSettings(chunk_events=_CHUNK, first_chunk=_CHUNK, lease_seconds=1.0)
    target.calls = 25
    with pytest.raises((Killed, BaseExceptionGroup)):
        await run_replay(made.stream, plan.run_id, tools(made.stream, selector, target, settings=settings), 1)
    made.clock.advance(60)
    again = tools(made.stream, selector, target, holder="next", settings=settings)
    assert await run_replay(made.stream, plan.run_id, again, 1) is not None
    asked = Definition(
        stream_id="stream1",
        window=WindowText(parse_instant(window["from"]).text, parse_instant(window["to"]).text),
        timezone="UTC",
        bucket=TimeBucket.HOUR,
        group_by=("payload.carrier",),
        measures=tuple(
            Measure(f"m{n}", sql)
            for n, sql in enumerate(("count(*)", "sum(payload.delay)", "max(payload.delay)"))
        ),
        where=None,
    )
    await answer(made, asked)
    objects = {key: stored.body for key, stored in made.bucket.objects.items()}
    return Evidence(
        Snapshot(objects),
        made.stream.layout.prefix,
        "stream1",
        deduplication is Deduplication.ON_WRITE,
        log,
        [Replay(plan.run_id, target.got, ordered=True)],
        [asked.hash],
    )


def test_a_true_stream_is_found_true(true: Evidence) -> None:
    verdict = check(true)
    assert verdict.faults == []
    assert (verdict.events, verdict.arrivals, sum(verdict.answers.values())) == (60, 80, 80)
    assert (verdict.repeats, verdict.named, verdict.repeating, verdict.aggregates) == (5, 1, 1, 1)


# how it is harmed


def _segments(true: Evidence) -> list[str]:
    return [key for key in true.bucket.keys("") if "/raw/" in key]


def _rewritten(
    true: Evidence, key: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    table = pq.read_table(io.BytesIO(true.bucket.read(key)))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), sink)
    _objects(true)[key] = sink.getvalue()


def _objects(true: Evidence) -> dict[str, bytes]:
    assert isinstance(true.bucket, Snapshot)
    return true.bucket.objects


def _lost_row(true: Evidence) -> Evidence:
    _rewritten(true, _segments(true)[0], lambda rows: rows[1:])
    return true


def _lost_object(true: Evidence) -> Evidence:
    del _objects(true)[_segments(true)[0]]
    return true


def _changed_byte(true: Evidence) -> Evidence:
    _rewritten(
        true,
        _segments(true)[0],
        lambda rows: [{**rows[0], "data": rows[0]["data"].replace(": ", ":", 1)}, *rows[1:]],
    )
    return true


def _uncounted(true: Evidence) -> Evidence:
    key = next(key for key in true.bucket.keys("") if "/generations/" in key)
    record = json.loads(true.bucket.read(key))
    _objects(true)[key.replace("00000001", "00000002")] = json.dumps({**record, "number": 2}).encode()
    return true


def _rewritten_object(true: Evidence) -> Evidence:
    assert isinstance(true.bucket, Snapshot)
    true.bucket.twice.append(_segments(true)[0])
    return true


def _missing_delivery(true: Evidence) -> Evidence:
    return _with_got(true, lambda got: [each for each in got if each.key != got[3].key])


def _unnamed_repeat(true: Evidence) -> Evidence:
    return _with_got(true, lambda got: [*got, got[3]])


def _repeat_too_often(true: Evidence) -> Evidence:
    return _with_got(true, lambda got: [*got, got[22], got[22]])


def _other_bytes_delivered(true: Evidence) -> Evidence:
    spoiled = lambda each: replace(each, body=each.body.replace(b'"x":1.', b'"x":2.'))  # noqa: E731
    return _with_got(true, lambda got: [spoiled(got[0]), *got[1:]])


def _normalised(true: Evidence) -> Evidence:
    """What any JSON library would make of it."""
    return _with_got(
        true, lambda got: [replace(got[0], body=json.dumps(json.loads(got[0].body)).encode()), *got[1:]]
    )


def _out_of_order(true: Evidence) -> Evidence:
    return _with_got(true, lambda got: [*reversed(got[:9]), *got[9:]])


def _made_up_delivery(true: Evidence) -> Evidence:
    return _with_got(true, lambda got: [*got, replace(got[0], key="0" * 64 + got[0].key[64:])])


def _with_got(true: Evidence, change: Callable[[list[Delivery]], list[Delivery]]) -> Evidence:
    (played,) = true.replays
    return replace(true, replays=[replace(played, got=change(list(played.got)))])


def _forgotten_intent(true: Evidence) -> Evidence:
    """The ledger no longer says that a chunk was begun twice."""
    key = next(key for key in true.bucket.keys("") if ".intent.1.json" in key)
    del _objects(true)[key]
    outcome = key.replace(".intent.1.json", ".outcome.ndjson")
    _objects(true)[outcome] = true.bucket.read(outcome).replace(b'"in_doubt":true', b'"in_doubt":false')
    return true


def _missing_end(true: Evidence) -> Evidence:
    for key in true.bucket.keys(""):
        if key.endswith("/end.json") and "/shards/" not in key:
            del _objects(true)[key]
    return true


def _acknowledged_and_lost(true: Evidence) -> Evidence:
    """An answer to an event that nobody stored."""
    return replace(true, told=[*true.told, replace(true.told[0], row=777)])


def _other_answer(true: Evidence) -> Evidence:
    """Somebody else was told that theirs was the first."""
    status = "ACCEPTED" if true.deciding else "DUPLICATE"
    return replace(true, told=[*true.told[:-1], replace(true.told[-1], status=status)])


def _other_payload(true: Evidence) -> Evidence:
    """Whoever was told ACCEPTED had sent something else."""
    first = true.told[0]
    changed = replace(first, event=replace(first.event, payload=first.event.payload.replace(": ", ":  ")))
    return replace(true, told=[changed, *true.told[1:]])


def _aggregate_off_by_one(true: Evidence) -> Evidence:
    key = next(key for key in true.bucket.keys("") if key.endswith("/rows.parquet"))
    _rewritten(true, key, lambda rows: [{**rows[0], "m1": rows[0]["m1"] + 1}, *rows[1:]])
    return true


def _second_version(true: Evidence) -> Evidence:
    key = next(key for key in true.bucket.keys("") if key.endswith("/version.json"))
    version = key.split("/")[-2]
    _objects(true)[key.replace(version, "f" * 64)] = true.bucket.read(key)
    return true


def _unsealed_change(true: Evidence) -> Evidence:
    _objects(true)[_segments(true)[0]] = true.bucket.read(_segments(true)[1])
    return true


HARMS: dict[str, Callable[[Evidence], Evidence]] = {
    "acknowledged, and not in raw": _acknowledged_and_lost,
    "a row that nobody sent": _changed_byte,
    "accepted or not": _other_answer,
    "acknowledged in a segment that does not count": _uncounted,
    "acknowledged, and other bytes in raw": _other_payload,
    "rewritten": _rewritten_object,
    "acknowledged, and not delivered": _missing_delivery,
    "repeated, and in no chunk that the ledger names": _unnamed_repeat,
    "repeated more often than its chunk was begun": _repeat_too_often,
    "delivered with other bytes": _normalised,
    "a repeat with another body, or other bytes": _other_bytes_delivered,
    "delivered out of order": _out_of_order,
    "delivered, and no event": _made_up_delivery,
    "the run did not end": _missing_end,
    "other rows than the producers' log gives": _aggregate_off_by_one,
    "2 versions answer": _second_version,
    "not as it was sealed": _unsealed_change,
    "a row was lost": _lost_row,
    "an object was lost": _lost_object,
    "an intent was forgotten": _forgotten_intent,
}
_SAID = {  # where the fault says it in other words
    "accepted or not": "told otherwise than it was decided",
    "a repeat with another body, or other bytes": "delivered with other bytes",
    "a row was lost": "acknowledged, and not in raw",
    "an object was lost": "not as it was sealed",
    "an intent was forgotten": "repeated, and in no chunk that the ledger names",
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_found(true: Evidence, harm: str) -> None:
    faults = check(HARMS[harm](true)).faults
    assert any(_SAID.get(harm, harm) in fault for fault in faults), faults


def test_the_checker_shares_no_code_with_what_it_checks() -> None:
    for module in (crash.checker, crash.truth, crash.clients, crash.receivers):
        tree = ast.parse(Path(module.__file__ or "").read_text())
        imported = {
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not any(name.split(".")[0] == "pik" for name in imported)
        others = {name for name in imported if name.startswith("crash.")}
        assert others <= {"crash.checker", "crash.truth", "crash.clients", "crash.receivers"}


def test_data_is_cut_out_of_a_message_as_it_stands() -> None:
    body = b'{"data1": {"data":1}, "x":"\\"data\\":2" , "data" : {"a": 1.50} ,"z":[]}'
    assert data_of(body) == b'{"a": 1.50}'
