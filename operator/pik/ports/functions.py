"""AWS Lambda functions as things to be made and set right."""

from __future__ import annotations

from typing import Protocol

from pik.planning.functions import FunctionAction, ObservedFunction


class FunctionProvisioner(Protocol):
    """One account and region."""

    async def function(self, name: str) -> ObservedFunction | None:
        """None where there is none. Raises `Unavailable` while it is being made or changed, and `Unusable`
        for one that AWS could not make."""
        ...

    async def apply(self, action: FunctionAction) -> None:
        """Does it; done again it does no harm. Raises `FunctionUnhealthy` where a version that is to be
        released is not well, and `Unusable` where its code did not arrive."""
        ...

    async def delete_function(self, name: str) -> None:
        """With its versions, its alias and its URL; fine where there is none."""
        ...
