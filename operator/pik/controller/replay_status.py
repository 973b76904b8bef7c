"""What a ReplayJob's status says of its plan, its approval and its run."""

from __future__ import annotations

from dataclasses import dataclass

from pik.api.capture_stream import Approval, CaptureStream, ReplayPolicy
from pik.api.conditions import ConditionType, Reason, is_true, with_condition
from pik.api.replay_job import (
    Failure,
    PlanStatus,
    ProgressStatus,
    ReplayJob,
    ReplayJobStatus,
    ShapeStatus,
)
from pik.controller.objects import ObjectKey, key_of
from pik.controller.runs import Run
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.planning.replay.estimate import duration_text, estimated_cost, estimated_requests, estimated_seconds
from pik.planning.replay.pace import effective_pace
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import RunRecord
from pik.planning.replay.spec import ReplaySpec

_T = ConditionType


@dataclass(frozen=True, slots=True)
class JobPass:
    """A pass's job, the stream that it is of, and its spec in one form."""

    resource: ReplayJob
    world: World
    opened: OpenStream
    policy: ReplayPolicy
    spec: ReplaySpec
    run_id: str

    @property
    def key(self) -> ObjectKey:
        return key_of(self.resource)

    @property
    def stream(self) -> ObjectKey:
        return ObjectKey(CaptureStream.KIND, self.opened.stream.namespace, self.opened.stream.name)

    def told(
        self,
        status: ReplayJobStatus,
        kind: ConditionType,
        holds: bool | None,
        reason: Reason,
        message: str = "",
    ) -> ReplayJobStatus:
        conditions = with_condition(
            status.conditions,
            kind,
            holds,
            reason,
            message or reason.meaning,
            generation=self.resource.metadata.generation or 0,
            now=self.world.clock.now(),
        )
        return status.model_copy(update={"conditions": conditions})


def with_plan(job: JobPass, status: ReplayJobStatus, plan: ReplayPlan) -> ReplayJobStatus:
    measure = plan.measure
    seconds = estimated_seconds(measure, effective_pace(job.policy, job.resource.spec.pace))
    requests = estimated_requests(measure, plan.spec.target, plan.spec.shards)
    shown = PlanStatus(
        hash=plan.hash,
        asOf=plan.as_of,
        segments=len(plan.reads),
        matched=measure.matched,
        bytes=measure.bytes,
        firstEventTime=measure.first_event_time,
        lastEventTime=measure.last_event_time,
        stale=measure.stale,
        shapes=tuple(
            ShapeStatus(
                eventType=kind.event_type[:512], shape=kind.shape, events=kind.rows, example=kind.example
            )
            for kind in (() if plan.shapes is None else plan.shapes.kinds)
        ),
        shapesComplete=None if plan.shapes is None else plan.shapes.complete,
        estimatedDuration=None if seconds is None else duration_text(seconds),
        estimatedCost=estimated_cost(requests, plan.spec.target),
    )
    return status.model_copy(update={"plan": shown})


async def with_progress(
    job: JobPass, status: ReplayJobStatus, executed: Run, *, ended: bool = False
) -> ReplayJobStatus:
    progress = await job.world.runs.progress(executed, ended=ended)
    totals = progress.totals
    before = status.progress
    return status.model_copy(
        update={
            "progress": ProgressStatus(
                sent=totals.sent,
                failed=totals.failed,
                held=totals.held,
                skippedDuplicates=None if before is None else before.skippedDuplicates,
                bytes=totals.bytes,
                shardsSucceeded=progress.shards_succeeded,
                lastCheckpointTime=progress.last_checkpoint,
            ),
            "failures": tuple(
                Failure(eventID=failure.event_id, reason=failure.reason, message=failure.message[:1024])
                for failure in progress.failures
            ),
        }
    )


def with_approval(
    job: JobPass, status: ReplayJobStatus, *, awaiting: bool, governed: bool
) -> ReplayJobStatus:
    if job.policy.approval is not Approval.REQUIRED:
        return job.told(status, _T.APPROVED, True, Reason.WITHIN_POLICY)
    if not governed:
        return job.told(status, _T.APPROVED, False, Reason.APPROVAL_POLICY_MISSING)
    if awaiting:
        return job.told(status, _T.APPROVED, False, Reason.AWAITING_APPROVAL)
    return job.told(status, _T.APPROVED, True, Reason.APPROVED)


def with_former_approval(job: JobPass, status: ReplayJobStatus, record: RunRecord) -> ReplayJobStatus:
    """Of a run that has ended: it awaits no approval any more, whatever its stream asks for by now."""
    if is_true(status.conditions, _T.APPROVED):
        return status  # as it was said while it went on
    if job.policy.approval is not Approval.REQUIRED:
        return job.told(status, _T.APPROVED, True, Reason.WITHIN_POLICY)
    by = record.approved_by
    if by is not None:
        return job.told(status, _T.APPROVED, True, Reason.APPROVED, f"{by} approved the plan.")
    message = "The stream's replayPolicy asked for no approval when the run began."
    return job.told(status, _T.APPROVED, True, Reason.WITHIN_POLICY, message)
