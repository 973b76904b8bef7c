from __future__ import annotations

from functools import cache, partial

import pytest

from functions.deployed import Packages, build


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Each made once: for the emulator's own Python, on this machine."""
    out = tmp_path_factory.mktemp("lambdas")
    return cache(partial(build, out=out))
