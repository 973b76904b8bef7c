"""The code of functions, as `make lambdas` makes it."""

from __future__ import annotations

from typing import Protocol

from pik.api.functions import Architecture
from pik.planning.functions import FunctionKind


class Packages(Protocol):
    """What this installation was given."""

    async def digest(self, kind: FunctionKind, architecture: Architecture) -> str:
        """SHA-256 of the package, in hex. Raises `PackageMissing`."""
        ...

    async def read(self, kind: FunctionKind, architecture: Architecture) -> bytes:
        """The package. Raises `PackageMissing`."""
        ...
