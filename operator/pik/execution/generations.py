"""The generation records of a stream: which segments count (design: Write protocol, What counts)."""

from __future__ import annotations

from pik.domain.errors import NotReady, PikError
from pik.domain.segments import GenerationRecord
from pik.execution.documents import document
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream
from pik.ports.index import GenerationState


async def newest_record(stream: Stream) -> GenerationRecord | None:
    """The record with the highest number, or None for a stream that was never made ready. Raises `Tampered`
    where it is none."""
    newest = None
    async for info in stream.objects.list(stream.layout.generations):
        newest = info.key
    if newest is None:
        return None
    stored = await stream.objects.read(newest)
    return document(newest, stored.body, GenerationRecord)


async def ready_generation(stream: Stream) -> GenerationState:
    """The index's generation. Raises `NotReady` while it is being rebuilt or was never built, and
    `NoSuchTable`: a deleted table is not an empty one."""
    state = await stream.index.generation()
    if state is None or not state.ready:
        raise NotReady(
            f"the index of {stream.namespace}/{stream.name} is being built"
            if state is not None
            else f"{stream.namespace}/{stream.name} has no index yet: run `pik reindex`"
        )
    return state


class KnownGeneration:
    """The generation that one writer works under. What it found last is good enough to begin with: whoever
    relies on it reads it again, or writes on the condition that it still holds, before anything is answered.
    That saves every commit a read."""

    def __init__(self, stream: Stream, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience
        self._known: int | None = None

    async def known(self) -> int:
        """As it was found last. Raises what `read` does."""
        return await self.read() if self._known is None else self._known

    async def read(self) -> int:
        """As it is now. Raises what `ready_generation` does, and `Unavailable`: then nothing is known."""
        stream = self._stream
        try:
            state = await until_answered(stream.clock, self._patience, lambda: ready_generation(stream))
        except PikError:
            self.forget()
            raise
        self._known = state.number
        return state.number

    def forget(self) -> None:
        """It may be another by now."""
        self._known = None
