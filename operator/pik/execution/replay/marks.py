"""Marks in the index of how far each shard is: a worker leaves them, and whoever shows the run's progress
reads those of all shards at once. They decide nothing: what counts lies in the bucket."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from pik.domain.errors import PikError
from pik.execution.replay.ledger import ShardProgress, after
from pik.execution.stream import Stream
from pik.planning.replay.records import ChunkHead, End

log = logging.getLogger(__name__)


class Marker:
    """An `Observer` that leaves the mark of one shard, newer ones at most every `pause` seconds."""

    def __init__(self, stream: Stream, run_id: str, shard: int, pause: float = 1.0) -> None:
        self._stream = stream
        self._run_id = run_id
        self._shard = shard
        self._pause = pause
        self._latest = ShardProgress()
        self._changed = asyncio.Event()

    def checkpoint(self, head: ChunkHead) -> None:
        self._latest = after(head)
        self._changed.set()

    def retrying(self, shard: int, error: PikError) -> None:
        """The worker tells that in its own way."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._leave(self._latest)
            await self._stream.clock.sleep(self._pause)

    async def leave_last(self, end: End | None) -> None:
        """What is the last to say. `end`: of the shard; None: it is halted."""
        latest = self._latest
        if end is not None:
            # another worker may have brought it there
            latest = ShardProgress(
                latest.chunks, end.totals, end.failures, latest.last_checkpoint or end.at, end.state
            )
        if latest.number:
            await self._leave(latest)

    async def _leave(self, progress: ShardProgress) -> None:
        text = msgspec.json.encode(progress).decode()
        try:
            await self._stream.index.put_mark(self._run_id, self._shard, progress.number, text)
        except PikError as error:
            log.warning("progress of shard %d is not shown: %s", self._shard, error)


async def read_marks(stream: Stream, run_id: str) -> dict[int, ShardProgress]:
    """How far each shard is that has left a mark, in one reading of the index."""
    found = await stream.index.marks(run_id)
    return {shard: msgspec.json.decode(text, type=ShardProgress) for shard, text in found.items()}
