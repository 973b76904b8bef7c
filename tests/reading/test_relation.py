"""`arrivals` and `events` hold what the rule says, and nothing else can be reached through them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.instants import Instant
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.execution.parquet import SCHEMA, ParquetCodec
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.stream import Deduplication
from reading.streams import START, after, arrival


def segment(folder: Path, number: int, at: Instant, rows: list[Row]) -> Path:
    """A segment's file. `number` is in the random part of its name."""
    identity = segment_id(at, f"{number:020x}", 1)
    path = folder / f"{identity}.parquet"
    path.write_bytes(ParquetCodec().encode(SegmentHead("stream1", identity, at), rows))
    return path


def test_arrivals_have_the_segments_columns_and_names(tmp_path: Path) -> None:
    arrivals = [arrival(f"k{n}", after(n / 10), b'{"n": %d}' % n) for n in range(4)]
    file = segment(tmp_path, 1, START, [Row(n, a, Outcome.ACCEPTED) for n, a in enumerate(arrivals)])
    con = connect()
    open_arrivals(con, [file])
    names = [name for name, *_ in con.execute("DESCRIBE arrivals").fetchall()]
    assert names == [*SCHEMA.names, "segment", "arrival"]
    found = con.execute(
        "SELECT event_id, epoch_us(event_time), data, segment, row FROM arrivals ORDER BY arrival"
    )
    assert found.fetchall() == [
        (a.event_id, a.event_time.micros, a.data.decode(), file.stem, n) for n, a in enumerate(arrivals)
    ]


@pytest.mark.parametrize("deduplication", Deduplication)
def test_no_files_are_no_rows(deduplication: Deduplication) -> None:
    con = connect()
    open_arrivals(con, [])
    open_events(con, deduplication)
    assert con.execute("SELECT count(*) FROM arrivals").fetchone() == (0,)
    assert con.execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert [row[:2] for row in con.execute("DESCRIBE arrivals").fetchall()] == [
        row[:2] for row in con.execute("DESCRIBE events").fetchall()
    ]


def test_an_arrival_is_the_same_whichever_segments_are_asked_for(tmp_path: Path) -> None:
    """DuckDB leaves out files whose names cannot meet a condition, and counts the others anew."""
    files = [
        segment(tmp_path, n, after(n), [Row(0, arrival("k", after(0)), Outcome.RECORDED)]) for n in range(3)
    ]
    con = connect()
    open_arrivals(con, files)
    open_events(con, Deduplication.ON_READ)
    last = files[2].stem
    assert con.execute("SELECT arrival >> 32 FROM arrivals WHERE segment = ?", [last]).fetchall() == [(2,)]
    assert con.execute("SELECT count(*) FROM events WHERE segment = ?", [last]).fetchone() == (0,)


def test_no_files_have_the_columns_of_files(tmp_path: Path) -> None:
    empty, full = connect(), connect()
    open_arrivals(empty, [])
    open_arrivals(full, [segment(tmp_path, 1, START, [Row(0, arrival("a"), Outcome.ACCEPTED)])])
    types = "SELECT column_name, column_type FROM (DESCRIBE arrivals)"
    assert empty.execute(types).fetchall() == full.execute(types).fetchall()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3_000),  # microseconds after the start: several segments within a millisecond
            st.lists(st.tuples(st.integers(0, 9), st.sampled_from(Outcome)), min_size=1, max_size=9),
        ),
        max_size=6,
    )
)
def test_events_are_the_first_arrivals_or_the_accepted(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, list[tuple[int, Outcome]]]]
) -> None:
    folder = tmp_path_factory.mktemp("segments")
    files, table = [], []
    for number, (offset, contents) in enumerate(drawn):
        at = Instant(START.micros + offset)
        # rows of a segment are in no special order and their numbers have holes
        rows = [
            Row(2 * (len(contents) - n), arrival(f"k{key}", after(number)), outcome)
            for n, (key, outcome) in enumerate(contents)
        ]
        file = segment(folder, 99 - number, at, rows)
        files.append(file)
        table += [(r.arrival.event_id, at.micros, file.stem, r.row, r.outcome.value) for r in rows]
    frame = pandas.DataFrame(table, columns=["event_id", "ingest", "segment", "row", "outcome"])
    place = ["event_id", "segment", "row"]
    accepted = frame[frame.outcome == "ACCEPTED"]
    candidates = frame[frame.outcome.isin(["RECORDED", "REPLAYED"])]
    first = candidates.sort_values(["ingest", "segment", "row"]).drop_duplicates("event_id")
    for deduplication, expected in [(Deduplication.ON_WRITE, accepted), (Deduplication.ON_READ, first)]:
        con = connect()
        open_arrivals(con, files)
        open_events(con, deduplication)
        found = con.execute("SELECT event_id, segment, row FROM events").fetchall()
        assert sorted(found) == sorted(expected[place].itertuples(index=False, name=None))
        order = con.execute("SELECT segment, row FROM arrivals ORDER BY arrival").fetchall()
        by_place = frame.sort_values(["ingest", "segment", "row"])[["segment", "row"]]
        assert order == list(by_place.itertuples(index=False, name=None))


def conflicting() -> tuple[Arrival, Arrival]:
    return arrival("k", after(0), b'{"v": 1}'), arrival("k", after(86_400), b'{"v": 2}')


def test_a_window_does_not_promote_a_conflict(tmp_path: Path) -> None:
    winner, conflict = conflicting()
    files = [
        segment(tmp_path, 1, after(0), [Row(0, winner, Outcome.RECORDED)]),
        segment(tmp_path, 2, after(1), [Row(0, conflict, Outcome.RECORDED)]),
    ]
    con = connect()
    open_arrivals(con, files)
    open_events(con, Deduplication.ON_READ)
    window = "SELECT count(*) FROM {} WHERE epoch_us(event_time) >= ?"
    assert con.execute(window.format("arrivals"), [after(3_600).micros]).fetchone() == (1,)
    assert con.execute(window.format("events"), [after(3_600).micros]).fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_parquet('{other}')",
        "FROM read_text('{other}')",
        "FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "ATTACH '{folder}/new.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FROM read_csv('http://127.0.0.1:1/x.csv')",
        "SET enable_external_access = true",
        "SET TimeZone = 'Europe/Berlin'",
        "SET memory_limit = '1TB'",
        "FROM a_variable_of_python",
    ],
)
def test_nothing_else_can_be_reached(tmp_path: Path, statement: str) -> None:
    file = segment(tmp_path, 1, START, [Row(0, arrival("a"), Outcome.ACCEPTED)])
    other = segment(tmp_path, 2, START, [Row(0, arrival("b"), Outcome.ACCEPTED)])
    a_variable_of_python = pandas.DataFrame({"secret": [1]})
    con = connect()
    open_arrivals(con, [file])
    with pytest.raises(duckdb.Error):
        con.execute(statement.format(other=other, folder=tmp_path))
    assert con.execute("SELECT count(*) FROM arrivals").fetchone() == (1,)
    assert len(a_variable_of_python) == 1


def test_what_does_not_fit_into_memory_is_spilled_and_cleared(tmp_path: Path) -> None:
    file = segment(tmp_path, 1, START, [Row(0, arrival("a"), Outcome.ACCEPTED)])
    spill = tmp_path / "spill"
    con = connect("60MB", spill)
    open_arrivals(con, [file])
    con.execute("CREATE TABLE wide AS SELECT i, sha256(i::VARCHAR) AS text FROM range(1_500_000) t(i)")
    assert any(spill.iterdir())
    con.close()
    assert not spill.exists()


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "it's"
    folder.mkdir()
    con = connect()
    open_arrivals(con, [segment(folder, 1, START, [Row(0, arrival("a"), Outcome.ACCEPTED)])])
    assert con.execute("SELECT count(*) FROM arrivals").fetchone() == (1,)


@pytest.mark.parametrize("kept", [(), (0,), (1,), (0, 1)])
def test_headers_are_null_where_a_segment_has_none(tmp_path: Path, kept: tuple[int, ...]) -> None:
    given = [arrival(f"k{n}") for n in range(2)]
    for number in kept:
        given[number] = msgspec.structs.replace(given[number], headers='{"a":"b"}')
    files = [segment(tmp_path, n, after(n), [Row(0, each, Outcome.ACCEPTED)]) for n, each in enumerate(given)]
    for asked in (True, False):
        con = connect()
        open_arrivals(con, files, headers=asked)
        open_events(con, Deduplication.ON_WRITE)
        names = [name for name, *_ in con.execute("DESCRIBE events").fetchall()]
        assert ("headers" in names) is asked
        if asked:
            found = con.execute("SELECT headers FROM events ORDER BY arrival").fetchall()
            assert found == [(each.headers,) for each in given]
    open_arrivals(connect(), [], headers=True)
