"""After a run its target is read, and whatever is not as it was sent is seen."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pik.api.targets import S3Format
from pik.domain.arrivals import Outcome
from pik.domain.errors import Tampered
from pik.execution.replay.comparing import compare_target
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import run_keys
from pik.execution.replay.stream_readback import StreamReadBack
from pik.execution.stream import Deduplication
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.sink import MemorySink, MemoryTarget
from pik.memory.system import InlineOffload
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import Comparison, EndState
from pik.ports.readback import ReadBack
from pik.ports.sinks import Delivery, Disposition
from pik.sinks.s3 import S3Sink
from pik.sinks.s3_reading import S3ReadBack
from reading.streams import World, after, arrival, rows, world
from replay.slices import ListSelector, begin, event, spec, tools

PREFIX = "replays/july"
EVENTS = [event(n, f"e{n % 4}", data=b'{"n":%d, "who":"p%d"}' % (n, n)) for n in range(23)]
HIDING = [{"path": "who", "action": "Hash"}]


async def sent(made: World, target: MemoryBucket, form: S3Format) -> ReplayPlan:
    selector = ListSelector(EVENTS)
    s3 = {"type": "S3", "s3": {"bucket": "slices", "prefix": PREFIX, "format": form.value}}
    plan = await begin(made.stream, selector, spec(target=s3, transform=HIDING, shards=3))
    sink = S3Sink(MemoryObjectStore(target, made.clock), PREFIX, form, InlineOffload())
    end = await run_replay(made.stream, plan.run_id, tools(made.stream, selector, sink), 1)
    assert end is not None
    assert end.state is EndState.SUCCEEDED
    return plan


async def compared(made: World, plan: ReplayPlan, back: ReadBack) -> Comparison:
    """Anew: what was found before is forgotten."""
    made.bucket.objects.pop(run_keys(made.stream, plan.run_id).comparison, None)
    return await compare_target(made.stream, plan.run_id, ListSelector(EVENTS), back)


def back(made: World, target: MemoryBucket, form: S3Format) -> S3ReadBack:
    return S3ReadBack(MemoryObjectStore(target, made.clock, page=2), PREFIX, form, InlineOffload())


def _lost(target: MemoryBucket, key: str) -> None:
    del target.objects[key]


def _again(target: MemoryBucket, key: str) -> None:
    target.objects[key.replace("chunk=", "chunk=9")] = target.objects[key]


def _changed(target: MemoryBucket, key: str) -> None:
    stored = target.objects[key]
    if key.endswith("ndjson"):
        body = stored.body.replace(b'"n":', b'"n": ', 1)
    else:
        table = pq.read_table(io.BytesIO(stored.body))
        first = pc.equal(pa.array(range(table.num_rows)), 0)
        data = pc.replace_with_mask(table.column("data"), first, "{}")
        out = io.BytesIO()
        pq.write_table(table.set_column(table.schema.names.index("data"), "data", data), out)
        body = out.getvalue()
    target.objects[key] = msgspec.structs.replace(stored, body=body)


@pytest.mark.parametrize("form", S3Format)
@pytest.mark.parametrize(
    ("damage", "missing", "extra", "repeats"),
    [(None, 0, 0, 0), (_lost, 1, 0, 0), (_again, 0, 0, 1), (_changed, 1, 1, 0)],
    ids=["whole", "lost", "again", "changed"],
)
async def test_what_lies_in_s3_is_held_against_what_was_sent(
    tmp_path: Path,
    form: S3Format,
    damage: Callable[[MemoryBucket, str], None] | None,
    missing: int,
    extra: int,
    repeats: int,
) -> None:
    made, target = await world(tmp_path), MemoryBucket()
    plan = await sent(made, target, form)
    key = sorted(target.objects)[1]
    target.objects[key.replace(plan.run_id, "f" * 64)] = target.objects[key]  # another run's
    if damage is not None:
        damage(target, key)
    found = await compared(made, plan, back(made, target, form))
    assert found.expected == len(EVENTS)
    assert (min(found.missing, 1), found.extra, min(found.repeats, 1)) == (missing, extra, repeats)
    assert found.found == found.expected - found.missing + found.extra + found.repeats
    assert found.matches is (missing == extra == 0)
    assert bool(found.examples) is (found.missing > 0)
    assert {*found.examples} <= {each.event_id for each in EVENTS}


async def test_the_first_comparison_is_kept(tmp_path: Path) -> None:
    made, target = await world(tmp_path), MemoryBucket()
    plan = await sent(made, target, S3Format.PARQUET)
    first = await compared(made, plan, back(made, target, S3Format.PARQUET))
    target.objects.clear()
    made.clock.advance(60)
    reading = back(made, target, S3Format.PARQUET)
    assert await compare_target(made.stream, plan.run_id, ListSelector(EVENTS), reading) == first


async def test_an_object_that_no_run_has_written_is_named(tmp_path: Path) -> None:
    made, target = await world(tmp_path), MemoryBucket()
    plan = await sent(made, target, S3Format.PARQUET)
    key, stored = min(target.objects.items())
    for body in (b"no Parquet", _other_parquet()):
        target.objects[key] = msgspec.structs.replace(stored, body=body)
        with pytest.raises(Tampered, match="chunk="):
            await compared(made, plan, back(made, target, S3Format.PARQUET))


def _other_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"data": ["{}"]}), out)
    return out.getvalue()


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_a_stream_that_was_sent_to_is_held_against_what_was_sent(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    made = await world(tmp_path / "from")
    there = await world(tmp_path / "to", deduplication)
    refused = {EVENTS[5].event_id}

    async def answer(message: object) -> Delivery:
        bad = getattr(message, "event_id", "") in refused
        return Delivery(Disposition.REFUSED, "400", "Bad") if bad else Delivery(Disposition.DELIVERED, "202")

    selector, target = ListSelector(EVENTS), MemoryTarget()
    plan = await begin(made.stream, selector, spec(onError={"action": "HoldEntity"}))
    await run_replay(
        made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target, answer=answer)), 1
    )
    there.clock.advance(600)
    got = [
        arrival(m.event_id, after(1), EVENTS[int(m.event_id, 16)].data, replay_of=plan.run_id)
        for _, m in target.received
    ]
    assert len(got) < len(EVENTS) - 1  # events behind the failed one were held
    others = [arrival("of nobody"), arrival("of another run", replay_of="f" * 64)]
    await there.land(rows([*got[3:], *others], Outcome.REPLAYED), at=after(2))
    reading = StreamReadBack(there.stream, made.clock.now(), None)
    found = await compared(made, plan, reading)
    assert (found.expected, found.missing, found.extra) == (len(got), 3, 0)
    assert {*found.examples} == {message.event_id for _, message in target.received[:3]}
    await there.land(
        rows([*got[:4], arrival(got[0].event_id, replay_of=plan.run_id)], Outcome.REPLAYED), at=after(3)
    )
    found = await compared(made, plan, reading)
    assert (found.missing, found.extra, found.repeats) == (0, 1, 1)
