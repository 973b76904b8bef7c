"""ReplayJob: a plan that is shown, then a run of that plan, once (design: Run protocol; law 6)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pik.api.capture_stream import Approval, CaptureStream
from pik.api.conditions import REASONS, ConditionType, Reason, condition_of, without_condition
from pik.api.replay_job import Mode, ProgressStatus, ReplayJob, ReplayJobStatus, RunStatus
from pik.controller.faults import STALLED_AGAIN, outcome_of
from pik.controller.objects import key_of
from pik.controller.outcome import Done, EventType, ObjectEvent, Outcome, Pass, Stalled, Waiting
from pik.controller.references import stream_of, waits_for_stream
from pik.controller.replay_comparison import AGAIN, awaits_comparison, with_comparison
from pik.controller.replay_plans import changed_since, is_being_made, made_plan, shown_plan
from pik.controller.replay_status import (
    JobPass,
    with_approval,
    with_former_approval,
    with_plan,
    with_progress,
)
from pik.controller.replay_targets import former_target_left, target_left, target_taken
from pik.controller.runs import Run
from pik.controller.world import World
from pik.domain.errors import PikError
from pik.domain.instants import parse_instant
from pik.execution.replay.runs import begin_run, read_end, read_plan, read_record, run_keys, same_run
from pik.planning.replay.pace import effective_pace
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.policy import (
    Refusal,
    StreamAddresses,
    approval_refusal,
    plan_refusals,
    spec_refusals,
    transform_refusals,
)
from pik.planning.replay.records import End, EndState, RunRecord
from pik.planning.replay.spec import replay_spec, run_id
from pik.planning.replay.taken import ingest_urls, taken_from

_T = ConditionType
_DRY_AGAIN = "mode is DryRun again: the run that was begun is held"


async def reconcile_replay(resource: ReplayJob, world: World) -> Pass:
    """One pass. Raises what the stream and the target do."""
    status = resource.status
    finished = _finished(resource, world)
    if finished is not None and not _looks_at_target(resource, finished):
        return finished
    stream_key = stream_of(
        resource.metadata.namespace, resource.spec.streamRef.namespace, resource.spec.streamRef.name
    )
    held = await waits_for_stream(stream_key, resource.metadata.namespace, world)
    if isinstance(held, Waiting | Stalled):
        if finished is not None and isinstance(
            finished.outcome, Done
        ):  # what was done stays done; its target is compared when the stream is there
            return replace(finished, outcome=replace(finished.outcome, again=AGAIN))
        return await _without_stream(resource, held, world)
    stream, opened = held
    spec = replay_spec(resource.spec, resource.metadata.namespace)
    identity = run_id(
        opened.place.stream_id, resource.metadata.namespace, resource.metadata.name, resource.spec.runKey
    )
    job = JobPass(resource, world, opened, stream.spec.replayPolicy, spec, identity)
    if status.run is not None and status.run.id != identity:
        # another runKey: another run
        await former_target_left(opened.stream, status.run.id)
        conditions = status.conditions
        for kind in (_T.PLANNED, _T.APPROVED, _T.RECONCILED):
            conditions = without_condition(conditions, kind)
        status = ReplayJobStatus(observedGeneration=status.observedGeneration, conditions=conditions)
    record = await read_record(opened.stream, identity)
    if record is None:
        return await _before_run(job, status)
    return await _run(job, status, same_run(record, spec.digest), found=True)


async def finalize_replay(resource: ReplayJob, world: World) -> Outcome:
    """A run is halted at its next checkpoint; the record of it stays."""
    key = key_of(resource)
    if not await world.runs.stopped(key):
        return Waiting(Reason.RUNNING, "the run stops at its next checkpoint", again=1.0)
    await world.background.stop(key)
    if resource.status.run is not None:
        await _left(resource, resource.status.run.id, world)
    return Done(Reason.SUCCEEDED)


async def _left(resource: ReplayJob, run: str, world: World) -> None:
    """Its place at the target is free at once, where the stream is open; else its time comes."""
    at = resource.spec.streamRef
    opened = world.workshop.find(stream_of(resource.metadata.namespace, at.namespace, at.name))
    if opened is not None and opened.whole:
        with suppress(PikError):
            await former_target_left(opened.stream, run)


async def _without_stream(resource: ReplayJob, held: Waiting | Stalled, world: World) -> Pass:
    """No run can be looked at without its stream. What sends for this object stops all the same where its
    spec no longer asks for it, or the stream's owner does not allow it."""
    spec, status = resource.spec, resource.status
    begun = status.run is not None and status.run.key == spec.runKey
    another = status.run is not None and not begun
    withdrawn = begun and _is_withdrawn(resource)
    if another or withdrawn or isinstance(held, Stalled) or not _may_go_on(resource):
        await world.runs.hold(key_of(resource))
    if isinstance(held, Stalled):
        message = f"{held.message}; the run that was begun is held" if begun else held.message
        return Pass(status, replace(held, message=message))
    if spec.suspend or (begun and spec.mode is Mode.DRY_RUN):
        why = "spec.suspend holds it" if spec.suspend else _DRY_AGAIN
        held = Waiting(Reason.SUSPENDED, f"{why}; {held.message}", held.on, held.again)
    elif withdrawn:
        message = f"the run's approval was taken away; {held.message}"
        held = Waiting(Reason.AWAITING_APPROVAL, message, held.on, held.again)
    return Pass(status, held)


async def _before_run(job: JobPass, status: ReplayJobStatus) -> Pass:
    """Nothing was sent yet: the plan, who refuses it, and the record that begins the run."""
    resource, world = job.resource, job.world
    spec = resource.spec
    await world.runs.abandon(resource)
    status = status.model_copy(update={"run": None, "progress": None, "failures": ()})
    refused = spec_refusals(
        job.policy, job.spec, spec.pace, _addresses(job), loopback=world.loopback, networks=world.networks
    )
    refused += transform_refusals(job.spec, job.opened.spec.mapping)
    if refused:
        return Pass(status, _refusal(job, refused[0]))
    if (impossible := world.runs.refusal(resource)) is not None:
        return Pass(status, _refusal(job, impossible))
    plan = None if is_being_made(job) else await shown_plan(job, status)
    if plan is None:
        plan = await made_plan(job)
    if plan is None:
        status = job.told(status, _T.PLANNED, False, Reason.PLANNING)
        return Pass(status, Waiting(Reason.PLANNING))
    status = with_plan(job, status, plan)
    status = job.told(status, _T.PLANNED, True, Reason.PLANNED)
    refused = plan_refusals(job.policy, plan, spec.approval)
    awaiting = [refusal for refusal in refused if refusal.reason is Reason.AWAITING_APPROVAL]
    others = [refusal for refusal in refused if refusal not in awaiting]
    ungoverned = await _ungoverned(job)
    status = with_approval(job, status, awaiting=bool(awaiting), governed=ungoverned is None)
    others += [ungoverned] if ungoverned is not None else []
    if spec.mode is Mode.DRY_RUN:
        outlook = f"; a run would be refused: {others[0].message}" if others else ""
        return Pass(status, Waiting(Reason.PLANNED, _matched(plan) + outlook))
    if others:
        return Pass(status, _refusal(job, others[0]))
    if spec.suspend:
        return Pass(status, Waiting(Reason.SUSPENDED))
    if awaiting:
        return Pass(status, _awaited(job, awaiting[0].message))
    changed = await changed_since(job, plan)
    if changed is not None:
        return Pass(status, changed)
    if (taken := await target_taken(job)) is not None:
        return Pass(status, taken)
    required = job.policy.approval is Approval.REQUIRED
    by = spec.approval.by if spec.approval is not None and required else None
    try:
        record = await begin_run(
            job.opened.stream,
            plan,
            namespace=resource.metadata.namespace,
            name=resource.metadata.name,
            run_key=spec.runKey,
            approved_by=by,
        )
    except PikError:
        await target_left(job)
        raise
    status = status.model_copy(update={"progress": ProgressStatus(skippedDuplicates=plan.measure.repeats)})
    return await _run(job, status, record)


async def _ungoverned(job: JobPass) -> Refusal | None:
    """Why an approval counts for nothing here: whoever may change the job could have written it."""
    spec = job.resource.spec
    if job.policy.approval is not Approval.REQUIRED or (spec.mode is Mode.DRY_RUN and spec.approval is None):
        return None
    if await job.world.approvals.governed(job.key):
        return None
    return Refusal(
        Reason.APPROVAL_POLICY_MISSING,
        f"stream {job.spec.stream} wants the plan approved, and nothing decides who may do that here: the "
        "ValidatingAdmissionPolicy pik-replayjob-approval is not installed",
    )


async def _run(job: JobPass, status: ReplayJobStatus, record: RunRecord, *, found: bool = False) -> Pass:
    """The run is on record; `found`: it was before this pass. The object says so whatever goes wrong from
    here on: by its status what is sent is frozen."""
    stream = job.opened.stream
    if status.plan is None or status.plan.hash != record.plan_hash:
        plan = await read_plan(stream, record.run_id, record.plan_hash)
        if plan is not None:
            status = with_plan(job, status, plan)
    run = RunStatus(
        id=record.run_id,
        key=record.run_key,
        startTime=record.started,
        ledgerURI=f"s3://{job.opened.place.bucket}/{run_keys(stream, record.run_id).root}",
    )
    status = job.told(status.model_copy(update={"run": run}), _T.PLANNED, True, Reason.PLANNED)
    events = _begun(job, record, found=found)
    try:
        result = await _going(job, status, run, record)
    except PikError as error:
        result = Pass(status, outcome_of(error, ReplayJob.KIND))
    return replace(result, events=(*events, *result.events))


def _begun(job: JobPass, record: RunRecord, *, found: bool) -> list[ObjectEvent]:
    """What is told of a run that the object's status does not know yet: it was begun now, or for an object
    before this one."""
    resource, known = job.resource, job.resource.status.run
    if known is not None and known.id == record.run_id:
        return []
    events = []
    if found:
        message = (
            f"runKey {record.run_key!r} was begun at {record.started}: what that run sent is not sent again"
        )
        events.append(ObjectEvent(EventType.NORMAL, "RunFound", message))
    if record.approved_by is not None:
        message = f"{record.approved_by} approved plan {record.plan_hash[:12]}…"
        events.append(ObjectEvent(EventType.NORMAL, "Approved", message))
    if resource.spec.execution is not None and not job.world.in_pods:
        message = "spec.execution is of pods, and events are sent from pik's own process here"
        events.append(ObjectEvent(EventType.NORMAL, "ExecutionNotUsed", message))
    return events


async def _going(job: JobPass, status: ReplayJobStatus, run: RunStatus, record: RunRecord) -> Pass:
    """It goes on, is held, or has ended."""
    world, stream, spec = job.world, job.opened.stream, job.resource.spec
    executed = Run(
        job.resource,
        job.opened,
        record,
        job.spec,
        effective_pace(job.policy, spec.pace),
        lambda: not _still_wanted(job),
    )
    end = await read_end(stream, record.run_id)
    if end is not None:
        return await _ended(job, with_former_approval(job, status, record), run, executed, end)
    # whoever approved the plan when the run began was entitled to; who does so later has to be
    ungoverned = await _ungoverned(job) if record.approved_by is None else None
    awaited = approval_refusal(job.policy, job.spec.stream, record.plan_hash, spec.approval)
    status = with_approval(job, status, awaiting=awaited is not None, governed=ungoverned is None)
    held: Waiting | Stalled | None = None
    if not _may_go_on(job.resource):
        held = Waiting(Reason.SUSPENDED, "" if spec.suspend else _DRY_AGAIN)
    elif ungoverned is not None:
        held = _refusal(job, ungoverned)
    elif awaited is not None:
        held = _awaited(job, f"{awaited.message}; the run that was begun is held")
    else:
        held = await target_taken(job)
    if held is not None:
        await world.runs.hold(job.key)
        return Pass(await with_progress(job, status, executed), held)
    standing = await world.runs.ensure(executed)
    if standing.end is not None:
        return await _ended(job, status, run, executed, standing.end)
    status = await with_progress(job, status, executed)
    return Pass(status, standing.outcome, standing.events)


async def _ended(job: JobPass, status: ReplayJobStatus, run: RunStatus, executed: Run, end: End) -> Pass:
    await job.world.runs.ended(executed)
    status = await with_progress(job, status, executed, ended=True)
    status = status.model_copy(update={"run": run.model_copy(update={"completionTime": end.at})})
    again, expired = _outlived(job.resource, job.world, end.at)
    if end.state is EndState.SUCCEEDED:
        totals = end.totals
        message = f"{totals.sent} sent, {totals.failed} failed, {totals.held} held, {totals.skipped} skipped"
        if end.message:
            message += f"; {end.message}"
        status = await with_comparison(job, status, executed.record)
        if awaits_comparison(job.resource, status):
            return Pass(status, Done(end.reason, message, again=AGAIN))
        return Pass(status, Done(end.reason, message, again=again), expired=expired)
    return Pass(status, Stalled(end.reason, end.message or end.reason.meaning, again=again), expired=expired)


def _outlived(resource: ReplayJob, world: World, ended: str) -> tuple[float | None, bool]:
    """Seconds until the object has outlived its purpose, and whether it has."""
    ttl = resource.spec.ttlSecondsAfterFinished
    if ttl is None:
        return None, False
    left = ttl - (world.clock.now().micros - parse_instant(ended).micros) / 1_000_000
    return max(0.0, left), left <= 0


def _finished(resource: ReplayJob, world: World) -> Pass | None:
    """A job whose run has ended, by its status: there is nothing to look at, whatever else of its spec has
    changed since. That nothing is sent does not hang on it: without a status the run's record is found, as it
    is where the status says something else, or in words that this version does not have."""
    status = resource.status
    complete = condition_of(status.conditions, _T.COMPLETE)
    run = status.run
    if complete is None or run is None or run.completionTime is None or run.key != resource.spec.runKey:
        return None
    again, expired = _outlived(resource, world, run.completionTime)
    for reason in REASONS[ReplayJob.KIND][_T.COMPLETE]:
        if complete.reason == reason.value and complete.status == "True":
            return Pass(status, Done(reason, complete.message, again=again), expired=expired)
        if complete.reason == reason.value and reason in REASONS[ReplayJob.KIND][_T.FAILED]:
            return Pass(status, Stalled(reason, complete.message, again=again), expired=expired)
    return None


def _looks_at_target(resource: ReplayJob, finished: Pass) -> bool:
    """Whether there is something to do for a job whose run has ended."""
    return isinstance(finished.outcome, Done) and awaits_comparison(resource, resource.status)


def _still_wanted(job: JobPass) -> bool:
    """Whether the run may go on by what the object says at present."""
    now = job.world.objects.find(job.key)
    return (
        isinstance(now, ReplayJob)
        and now.metadata.uid == job.resource.metadata.uid
        and now.metadata.deletionTimestamp is None
        and now.spec.runKey == job.resource.spec.runKey
        and now.spec.mode is Mode.RUN
        and not now.spec.suspend
    )


def _is_withdrawn(resource: ReplayJob) -> bool:
    """Whether a run that was approved no longer is, by what its status says."""
    status, approval = resource.status, resource.spec.approval
    approved = condition_of(status.conditions, _T.APPROVED)
    if approved is None or approved.reason != Reason.APPROVED or status.plan is None:
        return False
    return approval is None or approval.plan != status.plan.hash


def _may_go_on(resource: ReplayJob) -> bool:
    return resource.spec.mode is Mode.RUN and not resource.spec.suspend


def _refusal(job: JobPass, refusal: Refusal) -> Stalled:
    """It heals when the job or its stream's policy changes, or what is missing is installed."""
    again = STALLED_AGAIN if refusal.reason is Reason.APPROVAL_POLICY_MISSING else None
    return Stalled(refusal.reason, refusal.message, on=job.stream, again=again)


def _awaited(job: JobPass, message: str) -> Waiting:
    """Until a person approves, or the stream's owner no longer asks for it."""
    return Waiting(Reason.AWAITING_APPROVAL, message, on=job.stream)


def _matched(plan: ReplayPlan) -> str:
    return f"a run would send {plan.measure.matched} events; plan {plan.hash[:12]}…"


def _addresses(job: JobPass) -> StreamAddresses:
    stream = job.opened.stream
    gateway = job.world.gateway
    urls = (f"{gateway}/v1/streams/{stream.namespace}/{stream.name}",) if gateway else ()
    seen = job.world.objects.find(job.stream)
    there = seen if isinstance(seen, CaptureStream) else None
    return StreamAddresses(
        urls if there is None else (*urls, *ingest_urls(there)),
        job.opened.place.bucket,
        stream.layout.prefix,
        () if there is None else taken_from(there),
    )
