"""In which replays an event went, by their ledgers."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pik.domain.errors import Tampered
from pik.domain.identity import shard_of
from pik.execution.replay.runs import read_end, read_plan, read_record, run_keys
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import ChunkHead, LedgerEntry, RunRecord, decode_outcome

_PATIENCE = Patience()
_OUTCOME, _INTENT = ".outcome.ndjson", ".intent.json"


class ReplayUse(msgspec.Struct, frozen=True):
    """What one run did with the event. `in_doubt`: its chunk was begun twice, so that the target may have
    seen it twice."""

    run_id: str
    job: str  # namespace/name
    run_key: str
    target: str
    ended: str | None  # the run's state; None: it is not over
    shard: int
    chunk: int
    position: int
    result: str
    at: str  # when the chunk ended
    attempts: int
    in_doubt: bool
    key: str
    answer: str
    reason: str


class OpenRun(msgspec.Struct, frozen=True):
    """A run whose shard of this event has a chunk that was begun and has no outcome: nobody knows what of it
    went."""

    run_id: str
    job: str
    shard: int
    chunk: int


async def replays_of(
    stream: Stream, event_id: str, entities: Iterable[str]
) -> tuple[list[ReplayUse], list[OpenRun]]:
    """By run and place. Of each run only the shards of the event's entities are read.

    Raises `Tampered` where a plan or an outcome is not what it should be, naming it.
    """
    entities = sorted(set(entities))
    uses: list[ReplayUse] = []
    still_open: list[OpenRun] = []
    for run in await _runs(stream):
        plan = await read_plan(stream, run.run_id, run.plan_hash)
        if plan is None:
            raise Tampered(f"the plan {run.plan_hash} of run {run.run_id} is gone")
        end = await read_end(stream, run.run_id)
        for shard in sorted({shard_of(entity, plan.spec.shards) for entity in entities}):
            found, doubt = await _in_shard(stream, run, shard, event_id)
            uses += [_use(run, plan, end.state.value if end else None, head, entry) for head, entry in found]
            if doubt is not None:
                still_open.append(OpenRun(run.run_id, f"{run.namespace}/{run.name}", shard, doubt))
    return uses, still_open


async def _runs(stream: Stream) -> list[RunRecord]:
    """The runs that were begun, in order of their start."""
    ids = set()
    async for info in stream.objects.list(stream.layout.runs):
        run_id, _, name = info.key.removeprefix(stream.layout.runs).partition("/")
        if name == "run.json":
            ids.add(run_id)
    records = [await read_record(stream, run_id) for run_id in ids]
    return sorted(
        (record for record in records if record), key=lambda record: (record.started, record.run_id)
    )


async def _in_shard(
    stream: Stream, run: RunRecord, shard: int, event_id: str
) -> tuple[list[tuple[ChunkHead, LedgerEntry]], int | None]:
    """The ledger's lines of the event, and the chunk that has no outcome, if there is one."""
    prefix = run_keys(stream, run.run_id).shard(shard)
    outcomes: dict[int, str] = {}
    intents: set[int] = set()
    async for info in stream.objects.list(prefix):
        name = info.key.removeprefix(prefix)
        if name.endswith(_OUTCOME):
            outcomes[int(name.removesuffix(_OUTCOME))] = info.key
        elif name.endswith(_INTENT):
            intents.add(int(name.removesuffix(_INTENT)))
    found = []
    for key in outcomes.values():
        body = (
            await until_answered(stream.clock, _PATIENCE, lambda key=key: stream.objects.read(key))  # type: ignore[misc]
        ).body
        if event_id.encode() not in body:
            continue
        try:
            head, entries = decode_outcome(body, run.run_id)
        except ValueError as error:  # msgspec's errors are ValueErrors
            raise Tampered(f"{key} is not an outcome: {error}") from error
        found += [(head, entry) for entry in entries if entry.event_id == event_id]
    return found, min(intents - outcomes.keys(), default=None)


def _use(
    run: RunRecord, plan: ReplayPlan, ended: str | None, head: ChunkHead, entry: LedgerEntry
) -> ReplayUse:
    return ReplayUse(
        run_id=run.run_id,
        job=f"{run.namespace}/{run.name}",
        run_key=run.run_key,
        target=plan.spec.target.address,
        ended=ended,
        shard=head.shard,
        chunk=head.chunk,
        position=entry.position,
        result=entry.result.value,
        at=head.ended,
        attempts=entry.attempts,
        in_doubt=head.in_doubt,
        key=entry.key,
        answer=entry.answer,
        reason=entry.reason,
    )
