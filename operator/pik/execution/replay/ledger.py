"""The ledger of a run: what became of each event, chunk by chunk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec

from pik.domain.errors import Tampered
from pik.execution.replay.runs import run_keys
from pik.execution.stream import Stream
from pik.planning.replay.ledger import Reconciler, Reconciliation
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import (
    MAX_FAILURES,
    ChunkHead,
    End,
    EndState,
    Failure,
    LedgerEntry,
    Repeats,
    Totals,
    decode_head,
    decode_outcome,
)

_MOST_CHUNKS = 10**8  # as wide as their numbers in keys


class ShardProgress(msgspec.Struct, frozen=True):
    """How far a shard is, by its last outcome and its end."""

    chunks: int = 0  # with an outcome
    totals: Totals = Totals()
    failures: tuple[Failure, ...] = ()
    last_checkpoint: str | None = None
    ended: EndState | None = None

    @property
    def number(self) -> int:
        """Higher, the further it is; highest where it has ended, whoever saw how far it had come."""
        return _MOST_CHUNKS * (self.ended is not None) + self.chunks


class Progress(msgspec.Struct, frozen=True):
    """How far a run is, by its last checkpoints."""

    totals: Totals
    shards_succeeded: int
    last_checkpoint: str | None
    failures: tuple[Failure, ...]


async def read_ledger(stream: Stream, run_id: str) -> AsyncIterator[tuple[ChunkHead, list[LedgerEntry]]]:
    """Every chunk with an outcome, in order of shard and chunk, listed to the end.

    A chunk that somebody began again was in doubt, also where the worker that had been given up wrote its
    outcome after all. Raises `Tampered` for an outcome that is none.
    """
    again = ""  # the chunk that was last seen to have been begun again
    root = f"{run_keys(stream, run_id).root}shards/"
    async for info in stream.objects.list(root):
        place, _, name = info.key.removeprefix(root).partition(".")
        if name.startswith("intent.") and name != "intent.json":
            again = place
        if name == "outcome.ndjson":
            stored = await stream.objects.read(info.key)
            try:
                head, entries = decode_outcome(stored.body, run_id)
            except (msgspec.DecodeError, ValueError) as error:
                raise Tampered(f"{info.key} is not an outcome: {error}") from error
            if again == place and not head.in_doubt:
                head = msgspec.structs.replace(head, in_doubt=True, repeats=Repeats.POSSIBLE)
            yield head, entries


async def reconcile_run(stream: Stream, plan: ReplayPlan) -> Reconciliation:
    """The run's ledger held against its plan."""
    reconciler = Reconciler()
    async for head, entries in read_ledger(stream, plan.run_id):
        reconciler.add(head, entries)
    return reconciler.against(plan.measure.matched)


async def read_progress(stream: Stream, run_id: str) -> Progress:
    """From the last outcome of each shard."""
    return whole(await read_shards(stream, run_id))


def whole(shards: Mapping[int, ShardProgress]) -> Progress:
    """A run's progress from its shards'."""
    known = [shards[number] for number in sorted(shards)]
    return Progress(
        totals=sum((shard.totals for shard in known), Totals()),
        shards_succeeded=sum(shard.ended is EndState.SUCCEEDED for shard in known),
        last_checkpoint=max(
            (s.last_checkpoint for s in known if s.last_checkpoint is not None), default=None
        ),
        failures=tuple(failure for shard in known for failure in shard.failures)[:MAX_FAILURES],
    )


async def read_shards(stream: Stream, run_id: str) -> dict[int, ShardProgress]:
    """How far each shard is that has begun, by the run's objects, listed to the end."""
    last: dict[int, str] = {}
    ends: dict[int, str] = {}
    root = f"{run_keys(stream, run_id).root}shards/"
    async for info in stream.objects.list(root):
        number, _, name = info.key.removeprefix(root).partition("/")
        if name.endswith(".outcome.ndjson"):
            last[int(number)] = info.key
        if name == "end.json":
            ends[int(number)] = info.key
    found = {}
    for shard in sorted(last.keys() | ends.keys()):
        progress = ShardProgress()
        if shard in last:
            progress = after(decode_head((await stream.objects.read(last[shard])).body))
        if shard in ends:
            body = (await stream.objects.read(ends[shard])).body
            progress = msgspec.structs.replace(progress, ended=msgspec.json.decode(body, type=End).state)
        found[shard] = progress
    return found


def after(head: ChunkHead) -> ShardProgress:
    """How far a shard is after a chunk."""
    return ShardProgress(head.chunk + 1, head.totals, head.failures, head.ended)
