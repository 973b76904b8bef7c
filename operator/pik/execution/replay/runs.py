"""The objects of a run: read, and created once (design: Run protocol; law 6)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pik.domain.errors import Incomplete, NoSuchObject, RunKeyConflict, Tampered
from pik.execution.documents import document
from pik.execution.ownership import check_epoch
from pik.execution.replay.once import PATIENCE, create_once
from pik.execution.replay.transforms import mint_hash_key
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan, verify_plan
from pik.planning.replay.records import Comparison, End, RunKeys, RunRecord
from pik.planning.replay.spec import run_id as identity_of

T = TypeVar("T", bound=msgspec.Struct)


def run_keys(stream: Stream, run_id: str) -> RunKeys:
    """Where the run's objects lie."""
    return RunKeys(stream.layout.run(run_id))


async def read_record(stream: Stream, run_id: str) -> RunRecord | None:
    """The run's record, or None: it was never begun. Only a marker whose run is on record counts (law 10)."""
    return await _read(stream, run_keys(stream, run_id).record, RunRecord)


async def read_end(stream: Stream, run_id: str) -> End | None:
    """How the run ended; None while it has not."""
    return await _read(stream, run_keys(stream, run_id).end, End)


async def read_comparison(stream: Stream, run_id: str) -> Comparison | None:
    """What the run's target was found to have, or None."""
    return await _read(stream, run_keys(stream, run_id).comparison, Comparison)


async def read_shard_end(stream: Stream, run_id: str, shard: int) -> End | None:
    """How the shard ended; None while it has not."""
    return await _read(stream, run_keys(stream, run_id).shard_end(shard), End)


async def read_plan(stream: Stream, run_id: str, plan_hash: str) -> ReplayPlan | None:
    """The plan that was shown under this hash, or None. Raises `Tampered` where its content has another."""
    plan = await _read(stream, run_keys(stream, run_id).plan(plan_hash), ReplayPlan)
    if plan is not None and (plan.hash != plan_hash or plan.run_id != run_id or not verify_plan(plan)):
        raise Tampered(f"the plan {plan_hash} of run {run_id} is not what its hash was made of")
    return plan


async def planned(stream: Stream, run_id: str) -> ReplayPlan:
    """The plan that the run's record names. Raises `Incomplete` where there is no record or no plan."""
    return (await begun(stream, run_id))[1]


async def begun(stream: Stream, run_id: str) -> tuple[RunRecord, ReplayPlan]:
    """The run's record, and the plan that it names. Raises as `planned`."""
    record = await read_record(stream, run_id)
    if record is None:
        raise Incomplete(f"there is no record of run {run_id}")
    plan = await read_plan(stream, run_id, record.plan_hash)
    if plan is None:
        raise Incomplete(f"the plan {record.plan_hash} of run {run_id} is gone")
    return record, plan


async def begin_run(
    stream: Stream, plan: ReplayPlan, *, namespace: str, name: str, run_key: str, approved_by: str | None
) -> RunRecord:
    """The run's record, created now or found: whoever applies the job again finds the run that was.

    Only to be called for a plan that nothing refuses (planning.replay.policy). Raises `RunKeyConflict` where
    the plan is of another run than these words name, or the record that is there is of another spec, and
    `OwnershipConflict` where another cluster has taken the stream over.
    """
    if plan.run_id != identity_of(plan.stream_id, namespace, name, run_key):
        raise RunKeyConflict(f"plan {plan.hash} is not of run {run_key!r} of {namespace}/{name}")
    await until_answered(stream.clock, PATIENCE, lambda: check_epoch(stream))
    key = await mint_hash_key(stream) if plan.spec.hashes else None
    record = RunRecord(
        run_id=plan.run_id,
        stream_id=plan.stream_id,
        namespace=namespace,
        name=name,
        run_key=run_key,
        spec_digest=plan.spec.digest,
        plan_hash=plan.hash,
        approved_by=approved_by,
        started=stream.clock.now().text,
        nonce=stream.entropy.hex(32),
        hash_key=None if key is None else key.digest,
    )
    found = await create_once(stream, run_keys(stream, plan.run_id).record, msgspec.json.encode(record))
    return record if found is None else same_run(msgspec.json.decode(found, type=RunRecord), plan.spec.digest)


def same_run(record: RunRecord, spec_digest: str) -> RunRecord:
    """The record, if it is of this spec. Raises `RunKeyConflict`."""
    if record.spec_digest != spec_digest:
        raise RunKeyConflict(
            f"run {record.run_key!r} of {record.namespace}/{record.name} was begun at {record.started} with "
            "another spec: change runKey to run again"
        )
    return record


async def _read(stream: Stream, key: str, kind: type[T]) -> T | None:
    try:
        stored = await until_answered(stream.clock, PATIENCE, lambda: stream.objects.read(key))
    except NoSuchObject:
        return None
    return document(key, stored.body, kind)
