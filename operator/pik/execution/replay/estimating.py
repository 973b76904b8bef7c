"""The estimate of a dry run: how many events a slice can have, by the manifest alone."""

from __future__ import annotations

from pik.domain.errors import NotReady
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.execution.generations import ready_generation
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Deduplication, Stream
from pik.planning.replay.estimate import Bounds, bounds
from pik.planning.replay.spec import ReplaySpec

_PATIENCE = Patience()


async def estimate(stream: Stream, spec: ReplaySpec) -> Bounds:
    """Bounds of what an exact dry run counts, in time that grows with the segments and not with the events:
    no object is read or listed. What landed and is not indexed yet is not in it.

    Raises `NotReady` while the index is being rebuilt, `NoSuchTable`, and `Tampered`.
    """
    state = await until_answered(stream.clock, _PATIENCE, lambda: ready_generation(stream))
    now = stream.clock.now()
    entries = [
        entry
        async for entry in stream.index.segments()
        if not is_expired(Instant(entry.segment.stamp_millis * 1000), stream.retention_days, now)
    ]
    if await until_answered(stream.clock, _PATIENCE, stream.index.generation) != state:
        raise NotReady(f"the index of {stream.namespace}/{stream.name} was rebuilt while it was read")
    return bounds(spec, entries, on_read=stream.deduplication is Deduplication.ON_READ)
