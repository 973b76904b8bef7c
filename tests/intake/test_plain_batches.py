"""The fast way of reading a batch makes of it what the definition does: `decode_request`, event by event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intake.test_kit_events import spelled
from pik.domain.arrivals import Arrival, size_of
from pik.domain.columns import Columns, columns_of, joined
from pik.domain.decode import decode_batch, decode_request
from pik.domain.errors import PikError
from pik.domain.instants import Instant
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.mapping import Mapping, TextRule
from pik.domain.segments import SegmentHead, SegmentID
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.describe import describe_columns, describe_rows
from simulation.world import recorded_rows

RULES = IntakeRules()
HEAD = SegmentHead("stream", SegmentID("0" * 32, 1), Instant(1))
LINES = "application/x-ndjson"
ASCII = st.characters(min_codepoint=0x20, max_codepoint=0x7F, exclude_characters='"\\')
NAME = st.text(ASCII, min_size=1, max_size=8)
ODD = st.sampled_from(["", "é", '"', "\\", "\0", "\n", "\x7f", "/", "x" * 513, "x" * 1025, "\ud83d\ude00"])
DAY = st.datetimes().map(lambda moment: moment.isoformat())
TIME = (
    st.builds(lambda day, zone: day + zone, DAY, st.sampled_from(["Z", "z", "+00:00", "-05:30"]))
    | st.builds(lambda digits: f"2013-07-10T04:00:00.{digits}Z", st.from_regex(r"[0-9]{1,9}", fullmatch=True))
    | st.sampled_from(
        [
            "2013-07-10T24:00:00Z",
            "2013-07-10T23:59:60Z",
            "2013-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2013-07-10 04:00:00Z",
            "2013-07-10T04:00:00",
            "2013-W28-3T04:00:00Z",
            "2013-07-10T04:00:00.Z",
            "２013-07-10T04:00:00Z",
            "",
        ]
    )
)
FORMS: dict[str, Callable[[list[bytes]], tuple[bytes, str | None]]] = {
    "wrapped": lambda texts: (b'{"events":[' + b",".join(texts) + b"]}", "application/json"),
    "array": lambda texts: (b"[" + b",".join(texts) + b"]", None),
    "lines": lambda texts: (b"\n".join(texts), LINES),
    "ended lines": lambda texts: (b"\n".join(texts) + b"\n", LINES),
}


def written(fields: dict[str, Any], payload: bytes) -> bytes:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return text[:-1] + b',"payload":' + payload + b"}"


@st.composite
def event(draw: st.DrawFn, name: st.SearchStrategy[Any] = NAME, time: st.SearchStrategy[str] = TIME) -> bytes:
    fields = {
        "source": draw(name),
        "event_type": draw(name),
        "entity_id": draw(name),
        "event_time": draw(time),
        **draw(st.fixed_dictionaries({}, optional={"idempotency_key": name})),
    }
    names = draw(st.permutations(list(fields)))
    return written({name: fields[name] for name in names}, draw(spelled()))


def by_definition(body: bytes, rules: IntakeRules, content_type: str | None) -> Any:
    try:
        return decode_request(body, rules, content_type)
    except PikError as error:
        return type(error), str(error)


def the_fast_way(body: bytes, rules: IntakeRules, content_type: str | None) -> Any:
    try:
        found = decode_batch(body, rules, content_type)
    except PikError as error:
        return type(error), str(error)
    return [Decoded(each) for each in found.arrivals()] if isinstance(found, Columns) else found


@given(
    st.lists(event(NAME | ODD), min_size=1, max_size=4),
    st.sampled_from(sorted(FORMS)),
    st.sampled_from([RULES, IntakeRules(max_event_bytes=20), IntakeRules(exclude=("a",))]),
)
def test_it_finds_what_the_definition_does(texts: list[bytes], form: str, rules: IntakeRules) -> None:
    body, content_type = FORMS[form](texts)
    assert the_fast_way(body, rules, content_type) == by_definition(body, rules, content_type)


@given(
    st.lists(event(), min_size=1, max_size=3),
    st.sampled_from(sorted(FORMS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_so_it_does_where_bytes_were_changed(
    texts: list[bytes], form: str, changes: list[tuple[float, bytes]]
) -> None:
    body, content_type = FORMS[form](texts)
    for place, by in changes:
        at = int(place * len(body))
        body = body[:at] + by + body[at + 1 :]
    assert the_fast_way(body, RULES, content_type) == by_definition(body, RULES, content_type)


@given(
    st.lists(event(NAME, DAY.map(lambda day: f"{day}Z")), min_size=2, max_size=3),
    st.lists(st.sampled_from([b"", b"\n", b"\n\n"]), min_size=4, max_size=4),
    st.lists(st.floats(0, 1), max_size=1),
)
def test_so_it_does_where_lines_are_broken_elsewhere(
    texts: list[bytes], between: list[bytes], places: list[float]
) -> None:
    body = b"".join(each for pair in zip(between, [*texts, b""], strict=False) for each in pair)
    for place in places:
        at = round(place * len(body))
        body = body[:at] + b"\n" + body[at:]
    assert the_fast_way(body, RULES, LINES) == by_definition(body, RULES, LINES)


def test_a_break_in_a_payload_does_not_make_up_for_an_escape() -> None:
    """They were counted twice, and the event had the id of another source."""
    plain = {"event_type": "t", "entity_id": "e", "event_time": "2013-07-10T04:00:00Z"}
    first = written({"source": 'x\\"y', **plain, "idempotency_key": "z"}, b"[\n\n1]")
    body = first + written({"source": "b", **plain}, b"1") + written({"source": "c", **plain}, b"1")
    assert the_fast_way(body, RULES, LINES) == by_definition(body, RULES, LINES)


@given(st.lists(event(NAME, DAY.map(lambda day: f"{day}Z")), min_size=1, max_size=4))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_is_plain_goes_the_fast_way(form: str, texts: list[bytes]) -> None:
    if "lines" in form:
        texts = [text for text in texts if b"\n" not in text]
    if texts:
        body, content_type = FORMS[form](texts)
        assert isinstance(decode_batch(body, RULES, content_type), Columns)
        assert the_fast_way(body, RULES, content_type) == by_definition(body, RULES, content_type)


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({}, b"1e400"),
        ({}, b"9" * 400),
        ({}, b'"\\ud800"'),
        ({}, b'"\xff"'),
        ({}, b'"\x01"'),
        ({}, b"NaN"),
        ({}, b"[\n1]"),
        ({}, b"01"),
        ({}, b"[" * 128 + b"1" * 9 + b"]" * 128),
        ({}, b"[" * 129 + b"]" * 129),
        ({}, b"[" * 5_000 + b"]" * 5_000),
        ({}, b'{"a":[],"b":"' + b"[" * 400 + b'"}'),
        ({"idempotency_key": None}, b"1"),
        ({"idempotency_key": ""}, b"1"),
        ({"idempotency_key": 5}, b"1"),
        ({"pikrun": "a1" * 32, "pikstream": "s"}, b"1"),
        ({"specversion": "1.0"}, b"1"),
        ({"source": "other"}, b"1"),
    ],
)
@pytest.mark.parametrize("form", sorted(FORMS))
def test_hostile_payloads_and_fields(form: str, fields: dict[str, Any], payload: bytes) -> None:
    plain = {
        "source": "s",
        "event_type": "t",
        "entity_id": "e",
        "event_time": "2013-07-10T04:00:00Z",
    }
    texts = [written(plain, b"1"), written({**plain, **fields}, payload), written(plain, b"2")]
    body, content_type = FORMS[form](texts)
    assert the_fast_way(body, RULES, content_type) == by_definition(body, RULES, content_type)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"events":[]}', b" ", b"{}", b"\n", b'{"events":null}', b"[1]", b'{"events":[]}\n']
)
@pytest.mark.parametrize(
    "content_type", [None, "application/json", LINES, "text/plain", "application/x+json"]
)
def test_bodies_of_nothing(body: bytes, content_type: str | None) -> None:
    assert the_fast_way(body, RULES, content_type) == by_definition(body, RULES, content_type)


def test_what_the_headers_or_the_mapping_say_comes_first() -> None:
    text = written(
        {"source": "s", "event_type": "t", "entity_id": "e", "event_time": "2013-07-10T04:00:00Z"}, b"1"
    )
    headers = [(b"Ce-SpecVersion", b"1.0")]
    assert not isinstance(decode_batch(b"[" + text + b"]", RULES, None, headers), Columns)
    keyed = IntakeRules(mapping=Mapping(idempotency_key=TextRule(value="k")))
    [found] = decode_batch(b"[" + text + b"]", keyed)
    assert isinstance(found, Decoded)
    assert found.arrival.idempotency_key == "k"


@given(st.lists(st.lists(event(), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 5))
@example([[written({"source": "s", "event_type": "t", "entity_id": "e", "event_time": "x"}, b"1")]], 0)
def test_columns_are_the_arrivals(batches: list[list[bytes]], cut: int) -> None:
    def arrivals(texts: list[bytes]) -> list[Arrival]:
        found = decode_request(b"[" + b",".join(texts) + b"]", RULES)
        some = [each.arrival for each in found if isinstance(each, Decoded)]
        replays = [msgspec.structs.replace(each, replay_of="a1" * 32) for each in some[1:2]]
        late = [msgspec.structs.replace(each, received_time=Instant(7, "25")) for each in some[2:]]
        return some[:1] + replays + late

    parts = [arrivals(texts) for texts in batches]
    whole = [each for part in parts for each in part]
    columns = joined([columns_of(part) if cut % 2 else part for cut, part in enumerate(parts, cut)])
    assert columns.arrivals() == whole
    assert columns.size == sum(map(size_of, whole))
    assert columns.part(cut, cut + 2).arrivals() == whole[cut : cut + 2]
    told: Any = {"key": "k", "sha256": "0" * 64, "size": 1, "known_from": Instant(1)}
    assert describe_columns(HEAD, columns, **told) == describe_rows(HEAD, recorded_rows(columns), **told)
    codec = ParquetCodec()
    assert codec.encode_columns(HEAD, columns) == codec.encode(HEAD, recorded_rows(columns))
