"""Memory of a computation inside pik's own process."""

from __future__ import annotations

from contextlib import closing

import pytest

from pik.execution.reading.relation import connect
from pik.planning.memory import duckdb_limit, memory_bytes, memory_limit


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("1KB", 1_000), ("512MB", 512_000_000), ("1.5GB", 1_500_000_000), ("2GiB", 2**31)),
        *(("100Mi", 100 * 2**20), ("1Gi", 2**30), (" 7 b ", 7), ("8", 8), ("1TiB", 2**40)),
    ],
)  # fmt: skip
def test_an_amount_is_read(text: str, size: int) -> None:
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "1XB", "-1GB", "1 GB 2"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no amount of memory"):
        memory_bytes(text)


@pytest.mark.parametrize(
    ("asked", "most", "limit"),
    [
        (None, None, None),
        (None, "512MB", "512MB"),
        ("1Gi", None, f"{2**30}B"),
        ("1Gi", "512MB", "512000000B"),
        ("100Mi", "512MB", f"{100 * 2**20}B"),
    ],
)
def test_a_spec_gets_no_more_than_the_installation_gives(
    asked: str | None, most: str | None, limit: str | None
) -> None:
    assert memory_limit(asked, most) == limit


@pytest.mark.parametrize("memory", ["64MB", "100Mi", "256Mi", "512Mi", "1Gi", "64Gi"])
def test_duckdb_gets_less_than_its_process(memory: str) -> None:
    limit = duckdb_limit(memory_bytes(memory))
    assert 0 < limit <= memory_bytes(memory) * 3 / 4


def test_duckdb_takes_it() -> None:
    with closing(connect("1Gi")) as connection:
        limit = connection.execute("SELECT current_setting('memory_limit')").fetchone()
        assert limit == ("624.0 MiB",)
