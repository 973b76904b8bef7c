"""Buckets as arithmetic: each instant in the bucket that `planning.buckets` has for it, by few numbers."""

from __future__ import annotations

import random
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pik.api.aggregate_version import TimeBucket
from pik.domain.instants import parse_instant
from pik.planning.buckets import HOUR, pieces, slot_length, starts
from pik.planning.trino.buckets import start_of, stretches

YEAR = range(parse_instant("2013-01-01T00:00:00Z").micros, parse_instant("2014-01-01T00:00:00Z").micros, HOUR)
ZONES = ("America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("bucket", [each for each in TimeBucket if each is not TimeBucket.WINDOW])
@pytest.mark.parametrize("share", [1.0, 0.05])
def test_every_instant_finds_its_bucket(bucket: TimeBucket, zone: str, share: float) -> None:
    chance = random.Random(f"{bucket} {zone}")
    first = YEAR if bucket is not TimeBucket.MINUTE else YEAR[7_200:7_400]  # the last of October, and on
    hours = [hour for hour in first if chance.random() < share]
    length = slot_length(bucket)
    slots = [slot for hour in hours for slot in range(hour, hour + HOUR, length)]
    found = list(pieces(starts(bucket, ZoneInfo(zone), hours), slots, length))
    made = stretches(bucket, found)
    edges = [(at, piece.start) for piece in found for at in (piece.first, piece.last - 1)]
    micros, wanted = (list(column) for column in zip(*edges, strict=True))
    sql = f"SELECT {start_of(made, 'micros')} FROM (SELECT unnest(?) AS micros)"  # noqa: S608 - numbers
    with duckdb.connect() as con:
        assert [start for (start,) in con.execute(sql, [micros]).fetchall()] == wanted
    assert len(made) <= 14
