"""The generation records of a stream: which segments count (design: Write protocol, What counts)."""

from __future__ import annotations

import msgspec

from pik.domain.errors import NotReady
from pik.domain.segments import GenerationRecord
from pik.execution.stream import Stream
from pik.ports.index import GenerationState


async def newest_record(stream: Stream) -> GenerationRecord | None:
    """The record with the highest number, or None for a stream that was never made ready."""
    newest = None
    async for info in stream.objects.list(stream.layout.generations):
        newest = info.key
    if newest is None:
        return None
    stored = await stream.objects.read(newest)
    return msgspec.json.decode(stored.body, type=GenerationRecord)


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
