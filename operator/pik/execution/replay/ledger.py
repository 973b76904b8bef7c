"""The ledger of a run: what became of each event, chunk by chunk."""

from __future__ import annotations

from collections.abc import AsyncIterator

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
                head, entries = decode_outcome(stored.body)
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
    last: dict[str, str] = {}
    ends: list[str] = []
    root = f"{run_keys(stream, run_id).root}shards/"
    async for info in stream.objects.list(root):
        shard, _, name = info.key.removeprefix(root).partition("/")
        if name.endswith(".outcome.ndjson"):
            last[shard] = info.key
        if name == "end.json":
            ends.append(info.key)
    heads = [decode_head((await stream.objects.read(key)).body) for key in last.values()]
    ended = [msgspec.json.decode((await stream.objects.read(key)).body, type=End) for key in ends]
    return Progress(
        totals=sum((head.totals for head in heads), Totals()),
        shards_succeeded=sum(end.state is EndState.SUCCEEDED for end in ended),
        last_checkpoint=max((head.ended for head in heads), default=None),
        failures=tuple(failure for head in heads for failure in head.failures)[:MAX_FAILURES],
    )
