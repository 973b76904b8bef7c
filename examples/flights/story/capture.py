"""Everything is captured, and nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data
import pandas as pd
from story import oracle
from story.stage import Stage
from story.terminal import check


@dataclass(frozen=True)
class Captured:
    """What was sent."""

    flights_file: Path
    weather_file: Path
    flights: pd.DataFrame


def capture_the_year(stage: Stage) -> Captured:
    """Feeds both streams with all there is, and counts what is in raw."""
    with stage.working("writing the year's files"):
        flights_file, weather_file = data.write(stage.home / "data")
    stage.feed(flights_file, "flights")
    stage.feed(weather_file, "weather")
    captured = Captured(flights_file, weather_file, oracle.flight_keys(flights_file))
    _nothing_is_lost(stage, captured)
    return captured


def _nothing_is_lost(stage: Stage, captured: Captured) -> None:
    flights = _raw(stage, "flights")
    check(len(flights) == data.FLIGHTS == len(captured.flights), "every flight is in raw")
    check(set(flights.idempotency_key) == set(captured.flights.key), "each flight of the CSV is in raw")
    weather = _raw(stage, "weather")
    outcomes = weather.outcome.value_counts().to_dict()
    collisions = oracle.local_hour_collisions(captured.weather_file)
    check(len(weather) == data.WEATHER, "every reading is in raw")
    check(outcomes == {"ACCEPTED": data.WEATHER - collisions, "CONFLICT": collisions}, "readings decided")
    stage.proved(
        f"{len(flights):,} flights and {len(weather):,} readings in raw, 0 lost (pyarrow and the CSV)"
    )


def _raw(stage: Stage, name: str) -> pd.DataFrame:
    status: dict[str, Any] = stage.resource("capturestream", name)["status"]
    return oracle.captured(stage.s3(), status["storage"]["bucket"], name)
