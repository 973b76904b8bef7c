"""What one writer answers, and what it writes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from pik.domain.arrivals import Outcome, Rejection
from pik.domain.columns import columns_of
from pik.domain.errors import DataLost, NotReady, Overloaded, OwnershipConflict, Tampered, Unavailable
from pik.domain.instants import Instant
from pik.execution.capture.answers import Request, Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.ownership import OwnerRecord
from pik.execution.reindex import reindex
from pik.execution.retrying import Patience
from pik.execution.stream import Deduplication, Stream
from pik.ports.index import Reservation
from simulation.capture_scenario import arrival, read_truth
from simulation.virtual_loop import run
from simulation.world import World


async def ready_world(deduplication: Deduplication = Deduplication.ON_WRITE) -> tuple[World, Stream]:
    world = World(1, deduplication)
    stream = world.process("writer").stream()
    await reindex(stream, world.table.ensure)
    return world, stream


def test_first_arrival_wins_and_repeats_are_told_apart() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream)
        [first] = await capture.ingest([arrival(1, 0)])
        again, other = await capture.ingest([arrival(1, 0), arrival(1, 1)])
        assert (first.status, again.status, other.status) == (
            Status.ACCEPTED,
            Status.DUPLICATE,
            Status.CONFLICT,
        )
        assert again.winner == other.winner == first.s3_key
        assert [row.outcome for _, row in read_truth(world).rows] == [
            Outcome.ACCEPTED,
            Outcome.DUPLICATE,
            Outcome.CONFLICT,
        ]

    run(main())


@pytest.mark.parametrize(
    ("deduplication", "asked"),
    [
        (
            Deduplication.ON_WRITE,
            ["index.reserve", "index.generation", "objects.create", "index.put_segment", "objects.read"],
        ),
        (Deduplication.ON_READ, ["objects.create", "index.put_segment", "objects.read"]),
    ],
)
def test_what_a_commit_asks_of_aws(deduplication: Deduplication, asked: list[str]) -> None:
    """Each call is a wait before the answer, but for the last, of the owner's epoch, which is beside it."""

    async def main() -> None:
        world, stream = await ready_world(deduplication)
        owner = OwnerRecord("stream-1", "here", "default", "s", epoch=1)
        await stream.objects.create("owner.json", msgspec.json.encode(owner))
        capture = Capture(replace(stream, epoch=1), CaptureSettings(max_rows=1, commits=2))
        await capture.ingest([arrival(1, 0)])
        world.trace.clear()
        await asyncio.gather(*(capture.ingest([arrival(key, 0)]) for key in range(2, 42)))
        assert sorted(call for _, _, call in world.trace) == sorted(asked * 40)

    run(main())


def test_the_same_id_twice_in_one_segment() -> None:
    async def main() -> None:
        _, stream = await ready_world()
        answers = await Capture(stream).ingest([arrival(1, 0), arrival(2, 0), arrival(1, 0), arrival(1, 1)])
        assert [a.status for a in answers] == ["ACCEPTED", "ACCEPTED", "DUPLICATE", "CONFLICT"]
        assert len({a.s3_key for a in answers}) == 1
        assert len({a.row for a in answers}) == 4

    run(main())


def test_spelling_is_no_conflict_but_a_number_lexeme_is() -> None:
    async def main() -> None:
        _, stream = await ready_world()
        sent = [
            msgspec.structs.replace(arrival(1, 0), data=data, fingerprint=data.hex())
            for data in (b'{"a":1.0,"b":2}', b'{ "b":2, "\\u0061":1.0 }', b'{"a":1.00,"b":2}')
        ]
        answers = await Capture(stream).ingest(sent)
        assert [a.status for a in answers] == ["ACCEPTED", "DUPLICATE", "CONFLICT"]

    run(main())


def test_a_rejection_is_answered_in_its_place_and_not_stored() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        answers = await Capture(stream).ingest([arrival(1, 0), Rejection("NotFinite", "no"), arrival(2, 0)])
        assert [a.status for a in answers] == ["ACCEPTED", "REJECTED", "ACCEPTED"]
        assert answers[1].reason == "NotFinite"
        assert len(read_truth(world).rows) == 2

    run(main())


def test_concurrent_requests_share_segments() -> None:
    async def main() -> None:
        world, stream = await ready_world(Deduplication.ON_READ)
        capture = Capture(stream)
        await asyncio.gather(*(capture.ingest([arrival(key, 0)]) for key in range(50)))
        segments = {segment for segment, _ in read_truth(world).rows}
        assert len(segments) < 10

    run(main())


def test_a_segment_holds_no_more_rows_than_allowed_and_keeps_order() -> None:
    async def main() -> None:
        world, stream = await ready_world(Deduplication.ON_READ)
        capture = Capture(stream, CaptureSettings(max_rows=7, commits=3))
        sent = [arrival(key % 5, 0) for key in range(40)]
        answers = await capture.ingest(sent)
        truth = read_truth(world).rows
        assert max(row.row for _, row in truth) == 6
        stamps = {info.segment: info.ingest_time for info in world.table.segments.values()}
        places = {f"{world.layout.segment(segment)}#{row.row}": stamps[segment] for segment, row in truth}
        order = [places[f"{answer.s3_key}#{answer.row}"] for answer in answers]
        assert order == sorted(order)

    run(main())


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_columns_are_taken_as_their_arrivals_are(deduplication: Deduplication) -> None:
    async def main() -> None:
        world, stream = await ready_world(deduplication)
        # less than two rows of bytes: a row that begins below the bound is taken whole
        capture = Capture(stream, CaptureSettings(max_bytes=1_000, commits=3))
        sent = [arrival(key, 0) for key in range(9)]
        answers = await capture.ingest(columns_of(sent))
        assert [answer.event_id for answer in answers] == [each.event_id for each in sent]
        truth = {f"{world.layout.segment(segment)}#{row.row}": row for segment, row in read_truth(world).rows}
        stored = [truth[f"{answer.s3_key}#{answer.row}"] for answer in answers]
        assert [row.arrival for row in stored] == sent
        assert {row.row for row in stored} == {0, 1}
        assert capture.waiting == 0
        [again] = await capture.ingest([msgspec.structs.replace(sent[0], replay_of="a1" * 32)])
        assert again.status is Status.REPLAYED

    run(main())


def test_overload_takes_nothing_and_says_when_to_come_back() -> None:
    async def main() -> None:
        world, stream = await ready_world(Deduplication.ON_READ)
        capture = Capture(stream, CaptureSettings(max_waiting=5, linger=1.0))
        waiting = asyncio.create_task(capture.ingest([arrival(key, 0) for key in range(4)]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await capture.ingest([arrival(9, 0), arrival(8, 0)])
        assert caught.value.retry_after > 0
        assert len(await waiting) == 4
        assert len(await capture.ingest([arrival(9, 0), arrival(8, 0)])) == 2
        assert len(read_truth(world).rows) == 6

    run(main())


def test_what_would_wait_too_long_is_not_taken() -> None:
    async def main() -> None:
        _, stream = await ready_world(Deduplication.ON_READ)

        async def slowly(work: Any, *args: Any) -> Any:
            await stream.clock.sleep(1.0)
            return work(*args)

        stream = replace(stream, offload=slowly)
        capture = Capture(stream, CaptureSettings(max_rows=100, max_wait=5.0, commits=1))
        await capture.ingest([arrival(key, 0) for key in range(100)])  # a second
        waiting = asyncio.create_task(capture.ingest([arrival(key, 0) for key in range(800)]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await capture.ingest([arrival(0, 0)])
        assert 4 <= caught.value.retry_after <= 5, "half of what waits has gone by then"
        assert len(await waiting) == 800
        assert len(await capture.ingest([arrival(0, 0)])) == 1

    run(main())


def test_a_deleted_table_is_not_an_empty_one() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream)
        await capture.ingest([arrival(1, 0)])
        world.table.drop()
        with pytest.raises(NotReady):
            await capture.ingest([arrival(1, 1)])
        await world.table.ensure()
        with pytest.raises(NotReady):
            await capture.ingest([arrival(1, 1)])
        done = await reindex(stream, world.table.ensure)
        assert (done.generation, done.events, done.missing) == (2, 1, ())
        [answer] = await capture.ingest([arrival(1, 1)])
        assert answer.status is Status.CONFLICT

    run(main())


def test_a_cancelled_caller_does_not_cancel_what_was_taken() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream)
        caller = asyncio.create_task(capture.ingest([arrival(1, 0)]))
        await asyncio.sleep(0)
        caller.cancel()
        await capture.close()
        assert len(read_truth(world).rows) == 1
        with pytest.raises(NotReady):
            await capture.ingest([arrival(2, 0)])

    run(main())


def test_an_outage_fails_the_request_and_a_second_try_is_answered() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream, CaptureSettings(patience=Patience(2, 0.1, 0.1)))
        world.faults = replace(world.faults, refused=1.0)
        with pytest.raises(Unavailable):
            await capture.ingest([arrival(1, 0)])
        world.faults = replace(world.faults, refused=0.0)
        [answer] = await capture.ingest([arrival(1, 0)])
        assert answer.status is Status.ACCEPTED

    run(main())


def test_an_event_past_retention_is_new_again() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        stream = replace(stream, retention_days=2)
        capture = Capture(stream)
        assert (await capture.ingest([arrival(1, 0)]))[0].status is Status.ACCEPTED
        await asyncio.sleep(86_400)
        assert (await capture.ingest([arrival(1, 0)]))[0].status is Status.DUPLICATE
        await asyncio.sleep(3 * 86_400)
        world.bucket.objects = {
            key: stored for key, stored in world.bucket.objects.items() if "raw/" not in key
        }
        assert (await capture.ingest([arrival(1, 1)]))[0].status is Status.ACCEPTED

    run(main())


def test_a_segment_that_lands_late_is_known_from_when_it_landed() -> None:
    async def main() -> None:
        world, stream = await ready_world(Deduplication.ON_READ)
        create = stream.objects.create

        async def slow(key: str, body: bytes, content_type: str = "application/json") -> Instant:
            await asyncio.sleep(300)
            return await create(key, body, content_type)

        stream.objects.create = slow  # type: ignore[method-assign]
        await Capture(stream).ingest([arrival(1, 0)])
        [entry] = world.table.segments.values()
        assert entry.known_from.micros - entry.ingest_time.micros > 290_000_000
        before = dict(world.table.segments)
        stream.objects.create = create  # type: ignore[method-assign]
        await reindex(stream, world.table.ensure)
        assert dict(world.table.segments) == before

    run(main())


def test_reindex_rebuilds_what_was_there() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream, CaptureSettings(max_rows=2))
        for key in range(10):
            await capture.ingest([arrival(key, 0), arrival(key // 2, 1)])
        entries, segments = dict(world.table.entries), dict(world.table.segments)
        world.table.drop()
        await stream.objects.create(world.layout.raw, b"")  # a console's folder marker
        done = await reindex(stream, world.table.ensure)
        assert done.arrivals == 20
        assert segments == world.table.segments
        forget = lambda found: {k: msgspec.structs.replace(v, generation=0) for k, v in found.items()}  # noqa: E731
        assert forget(entries) == forget(world.table.entries)

    run(main())


def test_after_expiry_a_reindex_keeps_the_later_acceptance() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        stream = replace(stream, retention_days=1)
        capture = Capture(stream)
        await capture.ingest([arrival(1, 0)])
        await asyncio.sleep(3 * 86_400)  # past retention; lifecycle has not come round yet
        [again] = await capture.ingest([arrival(1, 1)])
        assert again.status is Status.ACCEPTED
        await reindex(stream, world.table.ensure)
        after = await Capture(stream).ingest([arrival(1, 1), arrival(1, 0)])
        assert [answer.status for answer in after] == ["DUPLICATE", "CONFLICT"]

    run(main())


def test_an_event_is_accepted_again_only_by_a_segment_stamped_after_it_expired() -> None:
    """Else a reader of shortly before midnight, to whom it has not expired, would see it twice."""

    async def main() -> None:
        world, stream = await ready_world()
        stream = replace(stream, retention_days=1)
        await Capture(stream).ingest([arrival(1, 0)])
        now = world.clock.now().to_datetime()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
        await asyncio.sleep((midnight - now).total_seconds() - 1)
        index = stream.index
        reserve = index.reserve

        async def slow(wanted: Sequence[Reservation]) -> list[Reservation | None]:
            await asyncio.sleep(5)
            return await reserve(wanted)

        index.reserve = slow  # type: ignore[method-assign]
        [answer] = await Capture(stream).ingest([arrival(1, 1)])
        assert answer.status is Status.ACCEPTED
        first, second = sorted(entry.ingest_time for entry in world.table.segments.values())
        assert first.to_datetime() <= now < midnight < second.to_datetime()

    run(main())


def test_a_damaged_segment_fails_only_what_hangs_on_it() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        [answer] = await Capture(stream).ingest([arrival(1, 0)])
        key = answer.s3_key or ""
        world.bucket.objects[key] = msgspec.structs.replace(world.bucket.objects[key], body=b"\x00")
        capture = Capture(stream)
        repeat = asyncio.create_task(capture.ingest([arrival(1, 0)]))
        fresh = asyncio.create_task(capture.ingest([arrival(2, 0)]))
        assert [a.status for a in await fresh] == ["ACCEPTED"]
        with pytest.raises(Tampered, match=key):
            await repeat

    run(main())


def test_segments_without_a_record_of_what_counts_are_data_lost_and_not_an_empty_stream() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        await Capture(stream).ingest([arrival(1, 0)])
        world.table.drop()
        world.bucket.objects = {k: v for k, v in world.bucket.objects.items() if "generations/" not in k}
        with pytest.raises(DataLost, match=r"\.parquet"):
            await reindex(stream, world.table.ensure)

    run(main())


def test_a_segment_under_another_ones_key_is_not_taken_for_it() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        [answer] = await Capture(stream).ingest([arrival(1, 0)])
        stored = world.bucket.objects[answer.s3_key or ""]
        [entry] = world.table.segments.values()
        last = "0" if entry.segment.id[-1] == "f" else "f"
        other = msgspec.structs.replace(entry.segment, id=entry.segment.id[:-1] + last)
        world.bucket.objects[world.layout.segment(other)] = stored
        with pytest.raises(Tampered, match="it says that it is segment"):
            await reindex(stream, world.table.ensure)

    run(main())


def test_a_request_that_failed_is_forgotten() -> None:
    """Its error has a traceback, whose frames hold its items, which hold the request, which holds the error:
    a circle that must be one for the collector too."""

    async def main() -> None:
        world, stream = await ready_world()
        capture = Capture(stream, CaptureSettings(patience=Patience(2, 0.1, 0.1)))
        world.faults = replace(world.faults, refused=1.0)
        for key in range(20):
            with pytest.raises(Unavailable):
                await capture.ingest([arrival(key, 0)])

    gc.collect()
    before = sum(isinstance(each, Request) for each in gc.get_objects())
    run(main())
    gc.collect()
    assert sum(isinstance(each, Request) for each in gc.get_objects()) == before


def test_dead_writers_segments_are_waited_for_together() -> None:
    async def main() -> None:
        _, stream = await ready_world()
        create = stream.objects.create

        async def never(key: str, body: bytes, content_type: str = "application/json") -> Instant:
            raise Unavailable("S3 is away")

        gone = Capture(stream, CaptureSettings(max_rows=1, patience=Patience(1, 0.1, 0.1)))
        stream.objects.create = never  # type: ignore[method-assign]
        for key in range(10):
            with pytest.raises(Unavailable):
                await gone.ingest([arrival(key, 0)])
        stream.objects.create = create  # type: ignore[method-assign]
        began = asyncio.get_running_loop().time()
        answers = await Capture(stream, CaptureSettings(void_wait=10)).ingest(
            [arrival(key, 0) for key in range(10)]
        )
        assert {answer.status for answer in answers} == {Status.ACCEPTED}
        assert asyncio.get_running_loop().time() - began < 10 * 10 / 2

    run(main())


def test_a_writer_whose_stream_was_taken_over_answers_nothing() -> None:
    async def main() -> None:
        world, stream = await ready_world()
        record = OwnerRecord("stream-1", "old", "default", "s", 1)
        await stream.objects.create(world.layout.owner, msgspec.json.encode(record))
        capture = Capture(replace(stream, epoch=1))
        assert (await capture.ingest([arrival(1, 0)]))[0].status is Status.ACCEPTED
        there = await stream.objects.read(world.layout.owner)
        taken = msgspec.structs.replace(record, cluster="new", epoch=2)
        await stream.objects.replace(world.layout.owner, msgspec.json.encode(taken), there.etag)
        with pytest.raises(OwnershipConflict, match="new/default/s, epoch 2"):
            await capture.ingest([arrival(2, 0)])
        [again] = await Capture(replace(stream, epoch=2)).ingest([arrival(2, 0)])
        assert again.status is Status.DUPLICATE, "stored, and nobody was told so: sent again it is a repeat"

    run(main())


def test_who_was_taken_over_does_not_say_any_more_what_counts() -> None:
    """The new owner's writers would go on in a generation that is no longer the newest, in an index that is
    still ready, and what they answer would not count."""

    async def main() -> None:
        world, stream = await ready_world()
        record = OwnerRecord("stream-1", "new", "default", "s", 2)
        await stream.objects.create(world.layout.owner, msgspec.json.encode(record))
        with pytest.raises(OwnershipConflict, match="new/default/s, epoch 2"):
            await reindex(replace(stream, epoch=1), world.table.ensure)
        assert [info.key async for info in stream.objects.list(world.layout.generations)] == [
            world.layout.generation(1)
        ]
        assert (await reindex(replace(stream, epoch=2), world.table.ensure)).generation == 2

    run(main())
