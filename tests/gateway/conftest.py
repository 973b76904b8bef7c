from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.clusters import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster in memory, with an operator."""
    made = Cluster(tmp_path)
    yield made
    await made.stop()
