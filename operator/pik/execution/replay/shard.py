"""One shard of a run: the same code in a pod of an Indexed Job and in a process that runs all of them.

Before each chunk an intent is created and after it its outcome, conditionally: so a chunk is sent twice only
if its worker died in it, and two workers cannot both go on (design: Run protocol).
"""

from __future__ import annotations

from contextlib import aclosing, suppress

import msgspec
import pyarrow as pa

from pik.api.conditions import Reason
from pik.api.replay_job import ErrorAction
from pik.domain.errors import Incomplete, LeaseLost, PikError, RawExpired, Tampered
from pik.domain.instants import parse_instant
from pik.domain.retention import is_expired
from pik.domain.transform import Transform
from pik.execution.ownership import check_epoch
from pik.execution.replay.ahead import CHUNK_BYTES, Ahead
from pik.execution.replay.checkpoint import Checkpoint, read_checkpoint
from pik.execution.replay.courier import Courier, Delivered
from pik.execution.replay.lease import Lease
from pik.execution.replay.once import PATIENCE, create_once
from pik.execution.replay.runs import (
    begun,
    read_end,
    read_record,
    read_shard_end,
    run_keys,
)
from pik.execution.replay.tools import Tools
from pik.execution.replay.transforms import transform_of
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.planning.replay.batches import next_chunk
from pik.planning.replay.events import fitting
from pik.planning.replay.messages import Messages
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import (
    MAX_FAILURES,
    ChunkHead,
    End,
    EndState,
    Intent,
    Repeats,
    RunRecord,
    encode_outcome,
)

_LOOK_UP = 1.0  # seconds between two looks at whether to halt, while a pace makes the shard wait


async def run_shard(stream: Stream, run_id: str, shard: int, tools: Tools) -> End | None:
    """Sends what is left of a shard. None: halted between two chunks, to be gone on with later.

    Raises `LeaseLost` while another worker has it, `TargetUnavailable` when the target did not take a chunk,
    `Denied` and `TargetForbidden` from the sink, `OwnershipConflict` where another cluster has taken the
    stream over, and what the ports raise. The shard can then be tried again: the chunk in doubt is sent again
    with the same keys.
    """
    if (done := await read_end(stream, run_id)) is not None:
        return done
    if (ended := await read_shard_end(stream, run_id, shard)) is not None:
        return ended
    record, plan = await begun(stream, run_id)
    holder = tools.lease_holder or tools.holder
    lease = Lease(stream, f"{run_id}/{shard:04d}", holder, tools.settings.lease_seconds)
    await lease.take()
    try:
        return await _Shard(stream, record, plan, shard, tools, lease).work()
    finally:
        with suppress(PikError):  # it expires by itself
            await lease.release()


class _Shard:
    def __init__(
        self,
        stream: Stream,
        record: RunRecord,
        plan: ReplayPlan,
        shard: int,
        tools: Tools,
        lease: Lease,
    ) -> None:
        self._stream = stream
        self._plan = plan
        self._shard = shard
        self._tools = tools
        self._lease = lease
        self._keys = run_keys(stream, plan.run_id)
        self._at = Checkpoint()
        self._oldest = min(plan.reads, key=lambda entry: entry.ingest_time, default=None)
        self._courier = Courier(
            plan,
            shard,
            sink=tools.sink,
            dead_letter=tools.dead_letter,
            pacer=tools.pacer,
            lease=lease,
            clock=stream.clock,
            entropy=stream.entropy,
            settings=tools.settings,
            replay=f"{record.namespace}/{record.name}",
        )

    async def work(self) -> End | None:
        self._at = await read_checkpoint(self._stream, self._plan.run_id, self._shard)
        pieces = self._tools.selector.read(self._plan, self._shard, self._at.start)
        try:
            self._check_retention()
            transform = await self._transform()
            async with aclosing(Ahead(pieces, self._plan, self._stream.offload, transform)) as ahead:
                return await self._chunks(ahead)
        except RawExpired as error:
            return await self._end(EndState.FAILED, Reason.RAW_EXPIRED, str(error))
        except Tampered as error:
            return await self._end(EndState.FAILED, Reason.RAW_CHANGED, str(error))

    async def _transform(self) -> Transform | None:
        record = await read_record(self._stream, self._plan.run_id) if self._plan.spec.hashes else None
        return await transform_of(self._stream, self._plan.spec, None if record is None else record.hash_key)

    async def _chunks(self, ahead: Ahead) -> End | None:
        settings = self._tools.settings
        most = settings.most(self._tools.sink.traits.batch_events)
        wanted = min(settings.first_chunk, most)
        while not self._at.stopped:
            doubt = self._at.doubt
            if doubt is not None:
                messages = await ahead.exactly(doubt.count)
                self._check_doubt(doubt, messages.events)
            else:
                if self._tools.halted() or await read_end(self._stream, self._plan.run_id) is not None:
                    return None
                # a large chunk ends where a piece ends, rather than that all of them are put together anew
                least = wanted if wanted <= settings.chunk_events else wanted // 8
                messages = await ahead.peek(wanted, least)
                if not messages:
                    return await self._end(EndState.SUCCEEDED, Reason.SUCCEEDED, "")
                messages = messages.between(0, fitting(messages.events, CHUNK_BYTES))
                soon = self._tools.pacer.horizon(_times(messages), settings.chunk_seconds)
                messages = messages.between(0, soon)
                if not await self._until_due(_times(messages)):
                    return None
            self._check_retention()
            began = self._stream.clock.now()
            self._at = await self._chunk(self._at, messages)
            ahead.drop(len(messages))
            seconds = (self._stream.clock.now().micros - began.micros) / 1_000_000
            wanted = next_chunk(len(messages), seconds, most=most, aim=settings.chunk_seconds)
        failure = self._at.failures[-1]
        message = f"the target refused event {failure.event_id}: {failure.message}"
        return await self._end(EndState.FAILED, Reason.TARGET_FAILED, message)

    async def _chunk(self, at: Checkpoint, messages: Messages) -> Checkpoint:
        """Intent, sending, outcome; the checkpoint after it."""
        await self._lease.keep()
        await until_answered(self._stream.clock, PATIENCE, lambda: check_epoch(self._stream))
        intent = Intent(
            chunk=at.chunk,
            start=at.start,
            count=len(messages),
            first_event_id=_event_id(messages.events, 0),
            last_event_id=_event_id(messages.events, len(messages) - 1),
            holder=self._tools.holder,
            at=self._stream.clock.now().text,
        )
        key = self._keys.intent(self._shard, at.chunk, at.attempts)
        await self._create(key, msgspec.json.encode(intent))
        began = self._stream.clock.now().text
        delivered = await self._courier.deliver(at.chunk, at.start, messages, at.held)
        newly_held = self._newly_held(delivered)
        head = ChunkHead(
            shard=self._shard,
            chunk=at.chunk,
            start=at.start,
            count=len(messages),
            began=began,
            ended=self._stream.clock.now().text,
            holder=self._tools.holder,
            totals=at.totals + delivered.totals,
            failures=(*at.failures, *delivered.failures)[:MAX_FAILURES],
            newly_held=newly_held,
            held_before=at.held_in,
            in_doubt=at.doubt is not None,
            repeats=None if at.doubt is None else self._repeats(at.doubt),
            stopped=delivered.stopped,
        )
        body = encode_outcome(head, delivered.ledger)
        await self._create(self._keys.outcome(self._shard, at.chunk), body)
        self._tools.observer.checkpoint(head)
        return Checkpoint(
            chunk=at.chunk + 1,
            start=at.start + len(messages),
            totals=head.totals,
            failures=head.failures,
            held=at.held.union(newly_held),
            held_in=at.chunk if newly_held else at.held_in,
            stopped=head.stopped,
        )

    async def _create(self, key: str, body: bytes) -> None:
        """Creates an object that only the one worker that goes on can create. Raises `LeaseLost`."""
        if await create_once(self._stream, key, body) is not None:
            raise LeaseLost(f"another worker went on with this shard: it wrote {key}")

    async def _end(self, state: EndState, reason: Reason, message: str) -> End:
        at = self._at
        if at.failures and state is EndState.SUCCEEDED:
            reason = Reason.SUCCEEDED_WITH_FAILURES
        now = self._stream.clock.now().text
        end = End(state, reason, message, now, at.totals, at.failures)
        found = await create_once(self._stream, self._keys.shard_end(self._shard), msgspec.json.encode(end))
        return end if found is None else msgspec.json.decode(found, type=End)

    async def _until_due(self, times: pa.Int64Array) -> bool:
        """Waits until the pace's speed has come to these events. False: halted meanwhile."""
        while (wait := self._tools.pacer.due_in(times)) > 0:
            if self._tools.halted():
                return False
            await self._lease.sleep(min(wait, _LOOK_UP))
        return True

    def _check_doubt(self, doubt: Intent, events: pa.RecordBatch) -> None:
        same = events.num_rows == doubt.count and _event_id(events, 0) == doubt.first_event_id
        if not same or _event_id(events, doubt.count - 1) != doubt.last_event_id:
            raise Incomplete(
                f"chunk {doubt.chunk} of shard {self._shard} is not what it was when it was begun"
            )

    def _check_retention(self) -> None:
        if self._oldest is None:
            return
        now = self._stream.clock.now()
        if is_expired(self._oldest.ingest_time, self._stream.retention_days, now):
            days = self._stream.retention_days
            raise RawExpired(f"{self._oldest.key} is past its retention of {days} days")

    def _newly_held(self, delivered: Delivered) -> tuple[str, ...]:
        held = self._plan.spec.on_error is ErrorAction.HOLD_ENTITY
        return tuple(delivered.failed_entities) if held else ()

    def _repeats(self, doubt: Intent) -> Repeats:
        """A target drops repeats for sure only if all of it came within its memory of the first try."""
        remembers = self._tools.sink.traits.remembers_seconds
        if remembers is None:
            return Repeats.BY_KEY
        since = (self._stream.clock.now().micros - parse_instant(doubt.at).micros) / 1_000_000
        return Repeats.DROPPED if since < remembers else Repeats.POSSIBLE


def _event_id(events: pa.RecordBatch, position: int) -> str:
    found: str = events.column("event_id")[position].as_py()
    return found


def _times(messages: Messages) -> pa.Int64Array:
    return messages.events.column("event_micros")
