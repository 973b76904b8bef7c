"""Buckets and tables as things to be made and set right."""

from __future__ import annotations

from typing import Protocol

from pik.planning.storage import Action, ObservedBucket, ObservedTable


class StorageProvisioner(Protocol):
    """One account and region."""

    async def bucket(self, name: str, *, whole: bool = True) -> ObservedBucket | None:
        """None where there is none. `whole` False leaves out what matters once: whether objects can be
        locked, which stays so, and whether there are any. Raises `Denied`, also for a bucket of another
        account."""
        ...

    async def table(self, name: str) -> ObservedTable | None:
        """None where there is none. Raises `Unavailable` while it is being made, changed or deleted."""
        ...

    async def apply(self, action: Action) -> None:
        """Does it; done again it does no harm. What is not named in it (foreign rules, foreign tags) stays
        as it is. Raises `BucketTaken`."""
        ...

    async def delete_bucket(self, name: str) -> None:
        """With every object and version in it; fine where there is none. Raises `Denied` for locked ones."""
        ...

    async def delete_table(self, name: str) -> None:
        """Also a protected one; fine where there is none."""
        ...
