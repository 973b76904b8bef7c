"""The objects of an API server, or of a folder, as reconcilers and their manager see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pik.api.kinds import AnyResource

if TYPE_CHECKING:
    from pik.controller.outcome import AnyStatus, ObjectEvent


class ObjectKey(NamedTuple):
    """Which object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(resource: AnyResource) -> ObjectKey:
    return ObjectKey(resource.KIND, resource.metadata.namespace, resource.metadata.name)


class Objects(Protocol):
    """What is known of the objects at present: an informer's cache, or a folder's state."""

    def find(self, key: ObjectKey) -> AnyResource | None: ...

    def keys(self) -> Sequence[ObjectKey]: ...


class ObjectWriter(Protocol):
    """The writes of one pass. Each does nothing where the object is gone, or another one of the same name is
    there (another uid)."""

    async def write_status(self, resource: AnyResource, status: AnyStatus) -> None:
        """Where it differs from what is there."""
        ...

    async def record(self, resource: AnyResource, events: Sequence[ObjectEvent]) -> None: ...

    async def delete(self, resource: AnyResource) -> None:
        """Asks for the object's deletion, which its finalizing pass precedes."""
        ...

    async def hold(self, resource: AnyResource, *, held: bool) -> bool:
        """The object cannot go before `finalized` says so, or can. Whether that was so already: if not, the
        changed object comes back as a change."""
        ...

    async def finalized(self, resource: AnyResource) -> bool:
        """The object's deletion has been prepared: it may go. False: it was changed meanwhile, and comes back
        as a change."""
        ...
