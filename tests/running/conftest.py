from __future__ import annotations

import pytest

from chart.conftest import helm, render
from chart.rendering import Renderer
from cluster.handle import Cluster
from running.scene import Ground

__all__ = ["helm", "render"]


@pytest.fixture
def ground(control_plane: Cluster, render: Renderer, emulator: str) -> Ground:
    return Ground(control_plane, render, emulator)
