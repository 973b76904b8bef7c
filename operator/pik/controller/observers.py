"""Who is told what the controllers do, besides those who read status: metrics and logs in a cluster, nobody
in local mode. None of these methods raises, and none takes long."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from pik.api.kinds import AnyResource
from pik.controller.objects import ObjectKey
from pik.controller.outcome import AnyStatus, Outcome


class QueueObserver(Protocol):
    """What a work queue tells."""

    def added(self) -> None:
        """A key came to be due, that was not so before."""
        ...

    def taken(self, waited: float) -> None:
        """A worker took a key that had been due for so many seconds."""
        ...


class PassObserver(Protocol):
    """What the manager tells."""

    def passing(self, key: ObjectKey, generation: int | None) -> AbstractContextManager[None]:
        """Is entered for all that one pass over an object does. `generation` None: the object is gone."""
        ...

    def passed(self, resource: AnyResource, status: AnyStatus, outcome: Outcome) -> None:
        """A pass over the object as `resource` has it came to this status, which is written."""
        ...

    def unwritten(self, key: ObjectKey) -> None:
        """What a pass found out could not be written."""
        ...

    def gone(self, key: ObjectKey) -> None: ...


class StreamObserver(Protocol):
    """What the work on a stream tells beside its status."""

    def swept(self, key: ObjectKey, indexed: int, unreadable: int) -> None:
        """Segments that had no manifest row and got one, and objects that are no segments."""
        ...

    def sealed(self, key: ObjectKey, seals: int, segments: int) -> None: ...

    def seal_broken(self, key: ObjectKey) -> None:
        """The chain of seals is not whole, and is not gone on with."""
        ...


class Nobody:
    """All of these, for whom nothing is kept."""

    def added(self) -> None: ...

    def taken(self, waited: float) -> None: ...

    def passing(self, key: ObjectKey, generation: int | None) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def passed(self, resource: AnyResource, status: AnyStatus, outcome: Outcome) -> None: ...

    def unwritten(self, key: ObjectKey) -> None: ...

    def gone(self, key: ObjectKey) -> None: ...

    def swept(self, key: ObjectKey, indexed: int, unreadable: int) -> None: ...

    def sealed(self, key: ObjectKey, seals: int, segments: int) -> None: ...

    def seal_broken(self, key: ObjectKey) -> None: ...
