"""The dry run: what a replay would send, counted exactly, and nothing sent (law 8)."""

from __future__ import annotations

import msgspec

from pik.api.replay_job import StaleAction
from pik.execution.reading.snapshot import Snapshot
from pik.execution.replay.once import create_once
from pik.execution.replay.runs import run_keys
from pik.execution.stream import Stream
from pik.planning.replay.plan import (
    SELECTION_SEMANTICS,
    PlannedSegment,
    ReplayPlan,
    plan_hash,
)
from pik.planning.replay.spec import ReplaySpec
from pik.ports.selection import Selector


async def dry_run(
    stream: Stream, snapshot: Snapshot, spec: ReplaySpec, run_id: str, selector: Selector
) -> ReplayPlan:
    """The plan over this snapshot, kept as one object under the run; the same plan is kept once.

    Raises what the selector does.
    """
    measured = await selector.measure(spec, snapshot.segments)
    segments = tuple(PlannedSegment(entry.key, entry.sha256) for entry in snapshot.segments)
    as_of = snapshot.as_of.exact_text
    plan = ReplayPlan(
        hash=plan_hash(spec, snapshot.stream_id, as_of, segments),
        run_id=run_id,
        stream_id=snapshot.stream_id,
        spec=spec,
        as_of=as_of,
        generation=snapshot.generation,
        semantics=SELECTION_SEMANTICS,
        segments=segments,
        reads=measured.reads,
        measure=measured.measure,
        stale_entities=measured.stale_entities if spec.on_stale is StaleAction.SKIP else (),
        shapes=measured.shapes,
    )
    await create_once(stream, run_keys(stream, run_id).plan(plan.hash), msgspec.json.encode(plan))
    return plan
