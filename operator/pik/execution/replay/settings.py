"""How a shard works; none of it changes what is sent, or in which order."""

from __future__ import annotations

import msgspec

from pik.planning.replay.estimate import BULK_CHUNK, CHUNK


class ShardSettings(msgspec.Struct, frozen=True):
    chunk_events: int = CHUNK  # most events between two checkpoints
    bulk_events: int = BULK_CHUNK  # the same, to a target that takes as many at once
    chunk_seconds: float = 5.0  # what a chunk is to last at most, about
    first_chunk: int = 100  # events, until it is known how fast the target is
    lease_seconds: float = 30.0
    attempts: int = 6  # tries of one call, before the shard gives up
    first_wait: float = 0.2  # seconds before the second try; each further wait doubles
    longest_wait: float = 10.0  # seconds
    longest_asked_wait: float = 120.0  # seconds that a target may ask for by Retry-After

    def most(self, batch_events: int) -> int:
        """Events of a chunk at most, for a target that takes so many in one call."""
        return self.bulk_events if batch_events >= self.bulk_events else self.chunk_events
