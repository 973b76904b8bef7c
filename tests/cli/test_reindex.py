"""`pik reindex` beside somebody else who is at the same work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.desks import Office
from pik.domain.errors import NotReady
from pik.execution.ownership import OwnerRecord
from pik.execution.reindex import Reindexed, reindex
from reading.streams import arrival


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    """With a stream whose every rebuild another process sets back."""
    office = Office(tmp_path)
    office.capture(arrival("key1"))

    async def owner(*_: object) -> OwnerRecord:
        return OwnerRecord("0" * 32, "local", "tests", "things", 1)

    async def set_back(*_: object) -> Reindexed:
        raise NotReady("other processes keep rebuilding the index of tests/things")

    monkeypatch.setattr(office.cloud, "provisioner", lambda _region: None)
    monkeypatch.setattr("pik.cli.reindex.read_owner", owner)
    monkeypatch.setattr("pik.cli.reindex.reindex", set_back)
    return office


def test_what_another_process_has_rebuilt_is_waited_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as good: it was begun after the command."""

    async def wait(seconds: float) -> None:
        await asyncio.sleep(0)
        office.clock.advance(max(seconds, 1.0))
        await reindex(office.stream(), office.cloud.table.ensure)

    monkeypatch.setattr(office.clock, "sleep", wait)
    found: Any = office.ask("reindex", "things")
    assert found == {"generation": 2}


def test_but_not_for_ever(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(seconds: float) -> None:
        office.clock.advance(max(seconds, 1.0))

    monkeypatch.setattr(office.clock, "sleep", wait)
    result = office.run("reindex", "things", "--timeout", "5")
    assert result.exit_code == 1
    assert "tests/things: begun, and not done yet; see `pik describe cst things`" in result.stderr
