"""A stream on the emulator, a target on this machine, and real processes between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from crash.clients import Producers
from crash.ground import Ground, free_port, producers_of
from crash.processes import Processes
from crash.receivers import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def ground(emulator: str, unique: str, tmp_path: Path) -> AsyncIterator[Ground]:
    """An OnWrite stream whose index is ready."""
    processes = Processes(emulator, tmp_path / "processes")
    made = Ground(processes, emulator, unique, deciding=True)
    await made.build()
    yield made
    await processes.stop()


@pytest.fixture
def ports() -> list[int]:
    return [free_port(), free_port()]


@pytest.fixture
def producers(ports: list[int]) -> Producers:
    """Whose keys several of them race on."""
    return producers_of(ports, Random(5), least=300)
