"""The API server that the operators of these tests work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def kubeconfig(control_plane: Any) -> Path:
    """Of an administrator."""
    found: Path = control_plane.kubeconfig
    return found
