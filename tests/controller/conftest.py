from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.clusters import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    await made.stop()
