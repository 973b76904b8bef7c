"""The same counts by other means: pandas and pyarrow on the CSV files and the bucket, none of pik's code."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

DAY = ("2013-07-10T04:00:00Z", "2013-07-11T04:00:00Z")  # 10 July in New York


@dataclass(frozen=True)
class Delay:
    """10 July's arrivals, as known at local midnight and finally."""

    flights_then: int
    mean_then: float
    flights_finally: int
    mean_finally: float
    late_keys: frozenset[str]

    @property
    def late(self) -> int:
        return len(self.late_keys)


def flight_keys(path: Path) -> pd.DataFrame:
    """Every flight with its key as the stream's mapping joins it."""
    flights = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = ["scheduled_departure", "carrier", "flight", "origin"]
    flights["key"] = flights[columns[0]].str.cat(flights[columns[1:]], sep="/")
    return flights


def delay(flights: pd.DataFrame) -> Delay:
    first, end = DAY
    day = flights[(flights.scheduled_departure >= first) & (flights.scheduled_departure < end)]
    day = day[~day.arr_delay.isin(["", "NA"])]
    minutes = day.arr_delay.astype(float)
    known = day.landed_at <= end
    return Delay(
        int(known.sum()),
        float(minutes[known].mean()),
        len(day),
        float(minutes.mean()),
        frozenset(day.key[~known]),
    )


def weather_gaps(path: Path) -> dict[str, int]:
    """Missing hours by airport, between its own first and last reading, in UTC."""
    weather = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = {}
    for airport, readings in weather.groupby("origin"):
        hours = pd.to_datetime(readings.time_hour).dt.floor("h")
        span = pd.date_range(hours.min(), hours.max(), freq="h")
        missing[str(airport)] = len(span.difference(pd.DatetimeIndex(hours.unique())))
    return missing


def local_hour_collisions(path: Path) -> int:
    """Readings whose airport and local hour are another reading's too."""
    weather = pd.read_csv(path, dtype=str, keep_default_na=False)
    return int(weather.duplicated(["origin", "year", "month", "day", "hour"]).sum())


def captured(s3: Any, bucket: str, prefix: str) -> pd.DataFrame:
    """All rows of a stream's raw objects, read with pyarrow as anybody would."""
    tables = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/raw/"):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            table = pq.read_table(BytesIO(body), columns=["idempotency_key", "outcome", "event_id"])
            tables.append(table.to_pandas())
    return pd.concat(tables, ignore_index=True)
