"""What a definition is, what its hash covers, and what cannot be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregate.questions import aggregates, answer, definition
from pik.api.aggregate_version import AggregateVersion
from pik.domain.errors import (
    InvalidDefinition,
    InvalidExpression,
)
from pik.planning.definitions import definition_of
from reading.streams import START, after, world

MANIFEST = {
    "apiVersion": "pik.dev/v1alpha1",
    "kind": "AggregateVersion",
    "metadata": {"name": "delay"},
    "spec": {
        "streamRef": {"name": "flights"},
        "window": {"from": "2013-07-10T00:00:00-04:00", "to": "2013-07-11T04:00:00Z"},
        "timezone": "America/New_York",
        "bucket": "Day",
        "groupBy": ["payload.carrier"],
        "measures": [{"name": "mean", "expression": "avg(payload.arr_delay)"}],
        "where": "payload.arr_delay IS NOT NULL",
    },
}


def hash_of(**changes: Any) -> str:
    manifest = {**MANIFEST, "spec": {**MANIFEST["spec"], **changes}}  # type: ignore[dict-item]
    return definition_of(AggregateVersion.from_manifest(manifest).spec, "s1").hash


def test_the_definition_hash_is_what_it_always_was() -> None:
    """A change of this is a change of every version's name: it needs another SEMANTICS_VERSION."""
    assert hash_of() == "4b69ff4cda5735badedafb0dbb07393132558deb3cafeb885244fc09a47134f1"


@pytest.mark.parametrize(
    "changes",
    [
        {"asOf": "2013-07-11T04:00:00Z"},
        {"knownBy": "ReceivedTime"},
        {"engine": "DuckDB"},
        {"compareTo": {"name": "other"}},
        {"suspend": True},
        {"streamRef": {"name": "another-name", "namespace": "n"}},
        {"window": {"from": "2013-07-10T04:00:00.000Z", "to": "2013-07-11T00:00:00-04:00"}},
    ],
)
def test_what_the_definition_hash_does_not_cover(changes: dict[str, Any]) -> None:
    assert hash_of(**changes) == hash_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"window": {"from": "2013-07-10T04:00:00.000001Z", "to": "2013-07-11T04:00:00Z"}},
        {"timezone": "UTC"},
        {"bucket": "Hour"},
        {"groupBy": ["payload.origin"]},
        {"measures": [{"name": "mean2", "expression": "avg(payload.arr_delay)"}]},
        {"measures": [{"name": "mean", "expression": "avg(payload.dep_delay)"}]},
        {"where": "payload.arr_delay > 0"},
    ],
)
def test_what_the_definition_hash_covers(changes: dict[str, Any]) -> None:
    assert hash_of(**changes) != hash_of()


async def test_what_cannot_be_asked_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    made = await world(tmp_path)

    async def refused(error: type[Exception], words: str, **asked: Any) -> None:
        measures = asked.pop("measures", ())
        with pytest.raises(error) as raised:
            await answer(made, definition(START, after(1), *measures, **asked))
        assert words in str(raised.value)

    await refused(InvalidDefinition, "'Mars/Olympus'", timezone="Mars/Olympus")
    await refused(InvalidDefinition, "timezone", timezone="../../etc/passwd")
    await refused(InvalidExpression, "where: nothing: there is no such column", where="nothing > 1")
    await refused(InvalidExpression, "groupBy[1]: COUNT(*):", group_by=("source", "count(*)"))
    await refused(InvalidExpression, "measures[x].expression: payload.a:", measures=(("x", "payload.a"),))
    await refused(InvalidDefinition, "measures", measures=(("x", "count(*)"), ("x", "count(*)")))
    await refused(InvalidDefinition, "measures", measures=(("bucket", "count(*)"),))
    taken = (("group_1", "count(*)"),)
    await refused(InvalidDefinition, "group_1", group_by=("payload.a + payload.b",), measures=taken)
    assert aggregates(made) == []
