"""What a ReplayJob says of its target after a run that succeeded: condition Reconciled."""

from __future__ import annotations

from urllib.parse import urlsplit

from pik.api.capture_stream import CaptureStream
from pik.api.common import Toggle
from pik.api.conditions import ConditionType, Reason, condition_of
from pik.api.replay_job import ReplayJob, ReplayJobStatus
from pik.api.targets import TargetType
from pik.controller.engines import compare_target, stream_read_back
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Stalled, Waiting
from pik.controller.references import waits_for_stream
from pik.controller.replay_status import JobPass
from pik.domain.errors import PikError
from pik.domain.instants import parse_instant
from pik.execution.replay.runs import read_comparison
from pik.planning.replay.policy import same_place
from pik.planning.replay.records import Comparison, RunRecord
from pik.ports.readback import ReadBack

AGAIN = 60.0
"""Seconds after which a comparison that failed is tried again."""

_COMPARISON = "comparison"  # the name of this work in the background
_KIND = ConditionType.RECONCILED
_FINAL = (Reason.TARGET_MATCHES, Reason.TARGET_DIFFERS, Reason.NOT_COMPARABLE)


def awaits_comparison(resource: ReplayJob, status: ReplayJobStatus) -> bool:
    """Whether the target of a run that succeeded is still to be compared."""
    found = condition_of(status.conditions, _KIND)
    told = found is not None and found.reason in _FINAL
    return resource.spec.verifyTarget is Toggle.ENABLED and not told


async def with_comparison(job: JobPass, status: ReplayJobStatus, record: RunRecord) -> ReplayJobStatus:
    """The status with what is known of the target by now. Begins the comparison where there is none."""
    if not awaits_comparison(job.resource, status):
        return status
    try:
        known = await read_comparison(job.opened.stream, record.run_id)
        if known is None:
            target = await _read_back(job, record)
            if target is None:
                message = (
                    f"{job.spec.target.type} {job.spec.target.address} cannot be read back; what it "
                    "confirmed is in the ledger"
                )
                return job.told(status, _KIND, None, Reason.NOT_COMPARABLE, message)
            if isinstance(target, Waiting | Stalled):
                return job.told(status, _KIND, None, Reason.COMPARISON_FAILED, target.message)
            known = await _compared(job, record, target)
    except PikError as error:
        return job.told(status, _KIND, None, Reason.COMPARISON_FAILED, str(error))
    if known is None:
        return job.told(status, _KIND, None, Reason.COMPARING)
    reason = Reason.TARGET_MATCHES if known.matches else Reason.TARGET_DIFFERS
    return job.told(status, _KIND, known.matches, reason, _message(known))


async def _compared(job: JobPass, record: RunRecord, target: ReadBack) -> Comparison | None:
    async def compare() -> Comparison:
        return await compare_target(job.opened.stream, record.run_id, target, job.world.memory)

    done = job.world.background.poll(job.key, _COMPARISON, record.run_id, compare)
    return None if done is None else done.value


async def _read_back(job: JobPass, record: RunRecord) -> ReadBack | Waiting | Stalled | None:
    target, world = job.spec.target, job.world
    if target.type is not TargetType.HTTP:
        return job.opened.cloud.read_back(target)
    key = _stream_at(job, target.address)
    if key is None:
        return None
    found = await waits_for_stream(key, job.resource.metadata.namespace, world)
    if isinstance(found, Waiting | Stalled):
        return found
    _, opened = found
    return stream_read_back(opened.stream, parse_instant(record.started), world.memory)


def _stream_at(job: JobPass, url: str) -> ObjectKey | None:
    """The stream whose door on this installation's gateway the URL is."""
    gateway = job.world.gateway
    if gateway is None:
        return None
    for key in job.world.objects.keys():  # noqa: SIM118
        if key.kind == CaptureStream.KIND:
            door = f"{gateway}/v1/streams/{key.namespace}/{key.name}"
            if same_place(urlsplit(url), urlsplit(door)):
                return key
    return None


def _message(found: Comparison) -> str:
    text = (
        f"{found.expected} sent, {found.found} found, {found.missing} missing, {found.extra} that were not "
        f"sent, {found.repeats} repeated; compared at {found.at}"
    )
    return text + (f"; missing: {', '.join(found.examples)}" if found.examples else "")
