"""`pik verify` finds each way in which raw, seals, manifest and index can stop agreeing, and nothing else."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import msgspec
import pytest

from integrity.bench import Bench, arrival, arrivals
from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import Unavailable
from pik.domain.instants import Instant
from pik.domain.layout import segment_id
from pik.domain.segments import TimeRange
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.seals import Seal, seal_segments
from pik.execution.stream import Deduplication
from pik.execution.verify import Finding, Kind, Verification, verify


async def sealed_bench(segments: int = 3, unsealed: int = 1, **kwargs: object) -> Bench:
    """Some sealed segments of 20 rows, some not yet sealed."""
    bench = Bench(**kwargs)  # type: ignore[arg-type]
    stream = await bench.ready()
    for seed in range(segments):
        await bench.ingest(*arrivals(20, seed))
    await seal_segments(stream, settle=0)
    for seed in range(unsealed):
        await bench.ingest(*arrivals(20, 100 + seed))
    bench.clock.advance(120)
    return bench


async def found(bench: Bench) -> tuple[Finding, ...]:
    result = await verify(bench.stream())
    assert result.complete
    return result.findings


async def only(bench: Bench, kind: Kind, key: str) -> Finding:
    findings = await found(bench)
    assert [(finding.kind, finding.object) for finding in findings] == [(kind, key)]
    return findings[0]


@pytest.mark.parametrize("deduplication", list(Deduplication))
async def test_a_whole_stream_has_no_findings_and_everything_is_counted(deduplication: Deduplication) -> None:
    bench = await sealed_bench(deduplication=deduplication)
    again = await bench.ingest(*arrivals(20, 0))  # a retry storm
    changed = await bench.ingest(arrival("0-0", "other"))
    await bench.void()
    bench.clock.advance(120)
    steps: list[tuple[int, int]] = []
    result = await verify(bench.stream(), lambda done, total: steps.append((done, total)))
    assert result.findings == ()
    assert result.ok
    counted = result.checked
    assert (counted.segments, counted.voids, counted.sealed, counted.seals) == (7, 1, 3, 1)
    assert counted.rows == 101
    assert counted.bytes == sum(len(bench.body(key)) for key in bench.raw())
    assert (counted.manifest_rows, counted.generations) == (6, 1)
    on_write = deduplication is Deduplication.ON_WRITE
    assert counted.index_entries == (80 if on_write else 0)
    assert {answer.status for answer in again + changed} == (
        {"DUPLICATE", "CONFLICT"} if on_write else {"RECORDED"}
    )
    assert steps == [(done, 7) for done in range(8)]


async def test_a_flipped_byte_is_named_with_its_object_and_row() -> None:
    bench = await sealed_bench()
    for key in (bench.raw()[0], bench.raw()[-1]):  # sealed, and not yet sealed
        kept = bench.body(key)
        codec = ParquetCodec()
        head, rows = codec.decode(kept)
        changed = msgspec.structs.replace(
            rows[7].arrival, data=rows[7].arrival.data.replace(b"of e", b"of f")
        )
        rows[7] = msgspec.structs.replace(rows[7], arrival=changed)
        bench.overwrite(key, codec.encode(head, rows))
        altered, row = await found(bench)
        assert (altered.kind, altered.object) == (Kind.OBJECT_ALTERED, key)
        assert altered.expected == sha256(kept).hexdigest()
        assert altered.found == sha256(bench.body(key)).hexdigest()
        assert (row.kind, row.object, str(row.rows)) == (Kind.ROW_ALTERED, key, "row 7")
        assert row.event_id == rows[7].arrival.event_id
        assert row.columns == ("data",)
        bench.overwrite(key, kept)
    assert await found(bench) == ()


async def test_a_removed_object() -> None:
    bench = await sealed_bench()
    for key in (bench.raw()[1], bench.raw()[-1]):
        kept = bench.bucket.objects[key]
        bench.remove(key)
        finding = await only(bench, Kind.OBJECT_MISSING, key)
        assert str(finding.rows) == "places 0–19"
        bench.bucket.objects[key] = kept


async def test_an_object_removed_with_its_manifest_row_is_missed_by_the_seal() -> None:
    bench = await sealed_bench()
    gone = bench.raw()[1]
    bench.remove(gone)
    del bench.table.segments[bench.stream().layout.segment_of(gone)]
    await only(bench, Kind.OBJECT_MISSING, gone)


async def test_a_reindex_does_not_bless_a_removed_or_a_changed_object() -> None:
    bench = await sealed_bench()
    gone, changed = bench.raw()[:2]
    bench.remove(gone)
    codec = ParquetCodec()
    head, rows = codec.decode(bench.body(changed))
    bench.overwrite(changed, codec.encode(head, rows[:-1]))
    await reindex(bench.stream(), bench.table.ensure)
    findings = {finding.object: finding.kind for finding in await found(bench)}
    assert findings == {gone: Kind.OBJECT_MISSING, changed: Kind.PAGE_ALTERED}
    kinds = [f.kind for f in await found(bench) if f.object == changed]
    assert kinds == [Kind.OBJECT_ALTERED, Kind.MANIFEST_ALTERED, Kind.PAGE_ALTERED]


async def test_segments_that_changed_places() -> None:
    bench = await sealed_bench()
    one, other = bench.raw()[:2]
    first, second = bench.body(one), bench.body(other)
    bench.overwrite(one, second)
    bench.overwrite(other, first)
    findings = await found(bench)
    for key in (one, other):
        kinds = [finding.kind for finding in findings if finding.object == key]
        assert kinds == [Kind.OBJECT_ALTERED, Kind.HEAD_ALTERED, Kind.HEAD_ALTERED, Kind.PAGE_ALTERED]


@pytest.mark.parametrize("changed", [0, -1], ids=["sealed", "unsealed"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rows", 19),
        ("bytes", 1),
        ("event_time", TimeRange(Instant(0), Instant(1))),
        ("received_time", None),
        ("outcomes", {"RECORDED": 21}),
        ("sources", ("nobody",)),
        ("event_types", ()),
        ("sources_complete", False),
        ("known_from", Instant(0)),
        ("ingest_time", Instant(5)),
        ("key", "elsewhere"),
    ],
)
async def test_an_edited_manifest_row(changed: int, field: str, value: object) -> None:
    bench = await sealed_bench()
    key = bench.raw()[changed]
    segment = bench.stream().layout.segment_of(key)
    bench.edit_manifest(segment, lambda entry: msgspec.structs.replace(entry, **{field: value}))
    finding = await only(bench, Kind.MANIFEST_ALTERED, key)
    assert finding.columns == (field,)


async def test_a_manifest_row_with_another_hash() -> None:
    bench = await sealed_bench()
    sealed, unsealed = bench.raw()[0], bench.raw()[-1]
    for key in (sealed, unsealed):
        segment = bench.stream().layout.segment_of(key)
        bench.edit_manifest(segment, lambda entry: msgspec.structs.replace(entry, sha256="0" * 64))
    of = {(finding.object, finding.kind) for finding in await found(bench)}
    # nothing else vouches for what is not sealed: object or manifest row, one of them was changed
    assert (sealed, Kind.MANIFEST_ALTERED) in of
    assert (sealed, Kind.OBJECT_ALTERED) not in of
    assert (unsealed, Kind.OBJECT_ALTERED) in of


async def test_a_segment_that_landed_late_is_known_from_its_arrival() -> None:
    bench = await sealed_bench(segments=1, unsealed=0)
    (key,) = bench.raw()
    late = Instant(bench.bucket.objects[key].last_modified.micros + 90_000_000)
    bench.bucket.objects[key] = msgspec.structs.replace(bench.bucket.objects[key], last_modified=late)
    finding = await only(bench, Kind.MANIFEST_ALTERED, key)
    assert finding.columns == ("known_from",)
    await reindex(bench.stream(), bench.table.ensure)
    assert await found(bench) == ()


async def test_a_writer_that_knows_all_it_wrote_settles_sooner() -> None:
    bench = await sealed_bench(segments=1, unsealed=0)
    (key,) = bench.raw()
    soon = Instant(bench.bucket.objects[key].last_modified.micros + 9_000_000)
    bench.bucket.objects[key] = msgspec.structs.replace(bench.bucket.objects[key], last_modified=soon)
    assert await found(bench) == ()
    segment = bench.stream().layout.segment_of(key)
    bench.edit_manifest(segment, lambda entry: msgspec.structs.replace(entry, known_from=soon))
    assert await found(bench) == ()


async def test_a_copy_of_a_segment_under_another_name() -> None:
    """Its manifest row is right about its bytes: what it says of itself is what tells."""
    bench = await sealed_bench(segments=1, unsealed=0)
    stream = bench.stream()
    (key,) = bench.raw()
    (entry,) = bench.table.segments.values()
    copy = segment_id(bench.clock.now(), "c" * 20, 1)
    where = stream.layout.segment(copy)
    bench.bucket.objects[where] = bench.bucket.objects[key]
    bench.table.segments[copy] = msgspec.structs.replace(entry, segment=copy, key=where)
    bench.clock.advance(120)
    findings = await found(bench)
    assert {finding.object for finding in findings} == {where}
    assert {finding.kind for finding in findings} == {Kind.HEAD_ALTERED, Kind.MANIFEST_ALTERED}
    assert {f.columns for f in findings if f.kind is Kind.HEAD_ALTERED} == {
        ("pik.segment",),
        ("pik.ingest_time",),
    }


@pytest.mark.parametrize("harm", ["remove", "edit", "garbage", "swap", "insert"])
async def test_a_broken_chain(harm: str) -> None:
    bench = await sealed_bench(segments=1, unsealed=0)
    stream = bench.stream()
    for seed in (11, 12):
        await bench.ingest(*arrivals(5, seed))
        await seal_segments(stream, settle=0)
    bench.clock.advance(120)
    first, second, third = bench.seals()
    seal = msgspec.json.decode(bench.body(second), type=Seal)
    if harm == "remove":
        bench.remove(second)
        await only(bench, Kind.SEAL_MISSING, second)
    elif harm == "edit":
        bench.overwrite(second, msgspec.json.encode(msgspec.structs.replace(seal, segments=())))
        broken = await found(bench)
        assert [(finding.kind, finding.object) for finding in broken] == [
            (Kind.SEAL_BROKEN, second),  # it seals nothing
            (Kind.SEAL_BROKEN, third),  # and is not what the next one says
        ]
    elif harm == "garbage":
        bench.overwrite(second, b"{}")
        kinds = {finding.kind for finding in await found(bench)}
        assert kinds == {Kind.SEAL_BROKEN, Kind.SEAL_MISSING}
    elif harm == "swap":
        kept = bench.body(second)
        bench.overwrite(second, bench.body(first))
        bench.overwrite(first, kept)
        assert {finding.kind for finding in await found(bench)} >= {Kind.SEAL_BROKEN}
    else:
        foreign = msgspec.structs.replace(seal, number=4, previous="0" * 64)
        await stream.objects.create(stream.layout.seal(4), msgspec.json.encode(foreign))
        kinds = {(finding.kind, finding.object) for finding in await found(bench)}
        fourth = stream.layout.seal(4)
        assert kinds == {(Kind.SEAL_BROKEN, fourth), (Kind.SEAL_NEW, fourth)}


async def test_the_end_of_the_chain_is_told_so_that_its_loss_can_be_seen() -> None:
    bench = await sealed_bench(unsealed=0)
    before = (await verify(bench.stream())).head
    assert before is not None
    assert before.sha256 == sha256(bench.body(bench.seals()[-1])).hexdigest()
    bench.remove(bench.seals()[-1])
    assert (await verify(bench.stream())).head != before


async def test_a_changed_or_removed_generation_record() -> None:
    bench = await sealed_bench(unsealed=0)
    await reindex(bench.stream(), bench.table.ensure)
    key = bench.stream().layout.generation(1)
    kept = bench.body(key)
    bench.overwrite(key, kept.replace(b'"number":1', b'"number":1 '))
    await only(bench, Kind.GENERATION_ALTERED, key)
    bench.remove(key)
    await only(bench, Kind.OBJECT_MISSING, key)


async def test_a_segment_without_a_manifest_row_is_an_error_once_it_is_not_recent() -> None:
    bench = Bench()
    await bench.ready()
    await bench.ingest(*arrivals(5))
    bench.table.segments.clear()
    (key,) = bench.raw()
    result = await verify(bench.stream())
    assert [finding.kind for finding in result.findings] == [Kind.ORPHAN]
    assert result.ok
    bench.clock.advance(120)
    await only(bench, Kind.UNINDEXED, key)


async def test_a_foreign_object_and_a_segment_that_does_not_count_are_no_errors() -> None:
    bench = await sealed_bench(unsealed=0)
    await reindex(bench.stream(), bench.table.ensure)
    stream = bench.stream()
    key = bench.raw()[0]
    bench.bucket.objects[stream.layout.raw + "notes.txt"] = bench.bucket.objects[key]
    bench.straggler()
    result = await verify(stream)
    assert [finding.kind for finding in result.findings] == [Kind.FOREIGN]
    assert result.ok
    assert result.checked.uncounted == 1


async def test_what_expired_may_be_gone_and_what_is_retained_may_not() -> None:
    bench = await sealed_bench(unsealed=0, retention_days=1)
    old = bench.raw()
    bench.clock.advance(3 * 86_400)
    await bench.ingest(*arrivals(5, 50))
    await seal_segments(bench.stream(), settle=0)
    bench.remove(old[0])
    result = await verify(bench.stream())
    assert result.findings == ()
    assert result.checked.expired == 3
    (new,) = [key for key in bench.raw() if key not in old]
    bench.remove(new)
    await only(bench, Kind.OBJECT_MISSING, new)


async def test_an_object_that_cannot_be_read_makes_the_result_incomplete() -> None:
    bench = await sealed_bench()
    unreadable = bench.raw()[1]
    stream = bench.stream()
    read = stream.objects.read

    async def refuse(key: str) -> object:
        if key == unreadable:
            raise Unavailable("no answer")
        return await read(key)

    stream.objects.read = refuse  # type: ignore[method-assign, assignment]
    result = await verify(stream)
    assert not result.complete
    assert not result.ok
    assert result.unread == (f"{unreadable}: no answer",)
    assert result.findings == ()
    assert result.checked.segments == 3


async def test_without_the_index_raw_is_checked_against_the_seals_and_the_result_says_so() -> None:
    bench = await sealed_bench()
    bench.table.drop()
    result = await verify(bench.stream())
    assert "table is gone" in result.unread[0]
    assert result.findings == ()
    bench.flip(bench.raw()[0], 2_000)
    result = await verify(bench.stream())
    assert result.findings[0].object == bench.raw()[0]
    await bench.table.ensure()
    assert "not ready" in (await verify(bench.stream())).unread[0]


async def on_write() -> Bench:
    return await sealed_bench(segments=1, unsealed=1, deduplication=Deduplication.ON_WRITE)


async def test_an_event_without_its_index_entry_could_be_accepted_again() -> None:
    bench = await on_write()
    event = arrivals(20, 0)[4]
    del bench.table.entries[event.event_id]
    finding = await only(bench, Kind.INDEX_CONTRADICTS, bench.raw()[0])
    assert (finding.event_id, str(finding.rows)) == (event.event_id, "row 4")


@pytest.mark.parametrize("change", [{"fingerprint": "0" * 64}, {"row": 5}])
async def test_an_index_entry_that_contradicts_its_row(change: dict[str, object]) -> None:
    bench = await on_write()
    event = arrivals(20, 0)[4]
    bench.table.entries[event.event_id] = msgspec.structs.replace(
        bench.table.entries[event.event_id], **change
    )
    finding = await only(bench, Kind.INDEX_CONTRADICTS, bench.raw()[0])
    assert (finding.event_id, finding.columns) == (event.event_id, tuple(change))


async def test_a_sealed_segment_that_was_away_while_the_index_was_rebuilt_does_not_count_any_more() -> None:
    bench = await on_write()
    key = bench.raw()[0]
    kept = bench.bucket.objects[key]
    bench.remove(key)
    await reindex(bench.stream(), bench.table.ensure)
    await only(bench, Kind.OBJECT_MISSING, key)
    bench.bucket.objects[key] = kept
    await only(bench, Kind.UNCOUNTED, key)
    assert (await verify(bench.stream())).checked.uncounted == 1


async def test_an_event_put_back_behind_the_index_could_be_accepted_again() -> None:
    """A writer takes an entry of an older generation for dead."""
    bench = await on_write()
    await reindex(bench.stream(), bench.table.ensure)
    key = bench.raw()[0]
    kept = bench.bucket.objects[key]
    bench.remove(key)
    await reindex(bench.stream(), bench.table.ensure)
    bench.bucket.objects[key] = kept
    findings = await found(bench)
    assert {(finding.kind, finding.object) for finding in findings} == {(Kind.INDEX_CONTRADICTS, key)}
    assert len(findings) == 20
    await reindex(bench.stream(), bench.table.ensure)
    assert await found(bench) == ()


async def test_a_reservation_that_came_to_nothing_is_counted_and_no_error() -> None:
    bench = await on_write()
    entry = bench.table.entries[arrivals(20, 0)[4].event_id]
    lost = segment_id(bench.clock.now(), "f" * 20, 1)
    bench.table.entries["abandoned"] = msgspec.structs.replace(entry, event_id="abandoned", segment=lost)
    bench.clock.advance(120)
    result = await verify(bench.stream())
    (finding,) = result.findings
    assert (finding.kind, finding.event_id) == (Kind.ABANDONED, "abandoned")
    assert result.ok
    assert result.checked.abandoned == 1


async def test_an_event_that_was_accepted_twice() -> None:
    bench = await on_write()
    event = arrivals(20, 0)[4]
    key = await bench.plant(Row(0, event, Outcome.ACCEPTED))
    bench.clock.advance(120)
    repeated, elsewhere = await found(bench)
    assert (repeated.kind, repeated.object, repeated.event_id) == (Kind.REPEATED, key, event.event_id)
    assert elsewhere.kind == Kind.INDEX_CONTRADICTS


async def test_a_repeat_that_names_a_segment_without_the_event() -> None:
    bench = await on_write()
    holder, other = (str(bench.stream().layout.segment_of(key)) for key in bench.raw())
    event = arrivals(20, 0)[4]
    fine = await bench.plant(Row(0, event, Outcome.DUPLICATE, holder))
    assert await found(bench) == ()
    wrong = await bench.plant(Row(3, event, Outcome.DUPLICATE, other))
    assert fine != wrong
    finding = await only(bench, Kind.WINNER_MISSING, wrong)
    assert (str(finding.rows), finding.found) == ("row 3", other)


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.DUPLICATE, Outcome.CONFLICT])
@pytest.mark.parametrize(
    "change",
    [
        {"data": b'{"v":"forged"}'},
        {"entity_id": "forged"},
        {"event_type": "forged"},
        {"source": "forged"},
        {"idempotency_key": "forged"},
        {"event_time": Instant(7)},
        {"payload_sha256": "0" * 64},
        {"fingerprint": "0" * 64},
        {"event_id": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("key", ["k", None], ids=["keyed", "keyless"])
async def test_a_row_that_contradicts_its_own_hashes(
    outcome: Outcome, change: dict[str, object], key: str | None
) -> None:
    """Also where its segment was sealed with it: the writer itself was wrong, or forged."""
    bench = Bench()
    await bench.ready()
    event = msgspec.structs.replace(arrival(key, 1), **change)
    where = await bench.plant(Row(9, event, outcome, None))
    findings = await found(bench)
    assert {(finding.kind, finding.object) for finding in findings} == {(Kind.ROW_ALTERED, where)}
    assert {str(finding.rows) for finding in findings} == {"row 9"}
    (column,) = change
    assert any(column in finding.columns for finding in findings)


async def test_hashes_leave_out_what_the_stream_leaves_out() -> None:
    bench = Bench(exclude=("text",))
    await bench.ready()
    await bench.ingest(arrival("a", exclude=("text",)), arrival(None, exclude=("text",)))
    bench.clock.advance(120)
    assert await found(bench) == ()
    fine = arrival("b", exclude=("text",))
    retried = msgspec.structs.replace(fine, data=fine.data.replace(b"reading", b"retried"))
    key = await bench.plant(Row(0, retried, Outcome.RECORDED))
    bench.clock.advance(120)
    # the fingerprint does not cover what was left out, the payload's own hash does
    assert (await only(bench, Kind.ROW_ALTERED, key)).columns == ("data", "payload_sha256")


async def test_two_rows_with_one_number() -> None:
    bench = Bench()
    await bench.ready()
    await bench.plant(Row(1, arrival("a"), Outcome.RECORDED), Row(1, arrival("b"), Outcome.RECORDED))
    bench.clock.advance(120)
    finding = await only(bench, Kind.REPEATED, bench.raw()[0])
    assert str(finding.rows) == "row 1"


async def test_verifying_changes_nothing_and_goes_on_beside_writers() -> None:
    bench = await sealed_bench(deduplication=Deduplication.ON_WRITE)
    before = dict(bench.bucket.objects)
    calls: list[str] = []

    async def note(call: str) -> None:
        calls.append(call)
        await asyncio.sleep(0)

    async def write() -> None:
        for seed in range(200, 206):
            await bench.ingest(*arrivals(5, seed))

    result, _ = await asyncio.gather(verify(bench.stream(before=note)), write())
    assert isinstance(result, Verification)
    assert result.errors == ()
    assert {key: bench.bucket.objects[key] for key in before} == before
    assert {call.split(".")[1] for call in calls} == {
        "list",
        "read",
        "generation",
        "segments",
        "entries",
        "marks",
    }
