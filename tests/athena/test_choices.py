"""greatest() and least() stay as short as what they are made of."""

from __future__ import annotations

import pytest

from pik.domain.errors import InvalidExpression
from pik.planning.sql.words import Sql, Type
from pik.planning.trino.words import TRINO


def parts(count: int, length: int = 10) -> list[Sql]:
    return [Sql("x" * length, Type.NUMBER)] * count


def test_each_part_stands_as_often_as_there_are_parts() -> None:
    assert TRINO.choice("greatest", parts(20)).count("x" * 10) == 400


@pytest.mark.parametrize(("count", "length"), [(400, 10), (10_000, 1), (2, 60_000)])
def test_what_would_be_too_long_is_refused_before_it_is_written(count: int, length: int) -> None:
    with pytest.raises(InvalidExpression, match="too long for Athena"):
        TRINO.choice("least", parts(count, length))
