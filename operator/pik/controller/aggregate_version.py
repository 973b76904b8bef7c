"""AggregateVersion: computed once, kept for good, and compared event by event (law 7)."""

from __future__ import annotations

from dataclasses import replace

from pik.api.aggregate_version import AggregateVersion, AggregateVersionStatus, AthenaStatus
from pik.api.conditions import Reason
from pik.api.execution import AggregateExecution
from pik.controller.athena import keep_table, status_of, work_group_of
from pik.controller.engines import check_definition
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import Done, EventType, ObjectEvent, Pass, Stalled, Waiting
from pik.controller.references import stream_of, waits_for_stream
from pik.controller.runs import Question
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import NoSuchObject
from pik.execution.aggregate.records import Answer, rows_key
from pik.planning.definitions import definition_of

_LOOK_AGAIN = 60.0  # seconds, for a version that another cluster or a person may bring


async def reconcile_aggregate(resource: AggregateVersion, world: World) -> Pass:
    """One pass. Raises what the stream and the computation do."""
    spec, status, meta = resource.spec, resource.status, resource.metadata
    if spec.suspend:
        await world.computations.halt(key_of(resource))
        return Pass(status, Waiting(Reason.SUSPENDED))
    if _is_finished(resource):
        return Pass(status, Done(Reason.SUCCEEDED))
    stream_key = stream_of(meta.namespace, spec.streamRef.namespace, spec.streamRef.name)
    held = await waits_for_stream(stream_key, meta.namespace, world)
    if isinstance(held, Stalled):  # the stream's owner does not allow it
        await world.computations.halt(key_of(resource))
    if isinstance(held, Waiting | Stalled):
        return Pass(status, held)
    _, opened = held
    events: tuple[ObjectEvent, ...] = ()
    version, on = _compared_with(resource, world)
    question = Question(resource, opened, definition_of(spec, opened.place.stream_id), version)
    if status.version is None or status.definitionHash != question.definition.hash:
        work_group = work_group_of(resource)
        if work_group is not None:
            check_definition(question.definition, spec.engine)
            events = await keep_table(opened)
            status = _with_athena(status, await status_of(opened, work_group, None))
        answer = await world.computations.answer(question)
        if isinstance(answer, Waiting | Stalled):
            return Pass(status, answer, events)
        status = _with_answer(status, opened, answer)
        if work_group is not None:
            status = _with_athena(status, await status_of(opened, work_group, answer))
        events += _not_used(resource, world)
    if spec.compareTo is None:
        return Pass(status, Done(Reason.SUCCEEDED), events)
    result = await _compared(question, status, on, world)
    return replace(result, events=(*events, *result.events))


def _compared_with(resource: AggregateVersion, world: World) -> tuple[str | None, ObjectKey | None]:
    """The version that compareTo names, once there is one, and the object that has it where it names that."""
    wanted = resource.spec.compareTo
    if wanted is None or wanted.name is None:
        return None if wanted is None else wanted.version, None
    on = ObjectKey(AggregateVersion.KIND, resource.metadata.namespace, wanted.name)
    other = world.objects.find(on)
    return other.status.version if isinstance(other, AggregateVersion) else None, on


async def _compared(
    question: Question, status: AggregateVersionStatus, on: ObjectKey | None, world: World
) -> Pass:
    """The difference from the version that compareTo names. `on`: the object that is to have it."""
    version = question.before
    if version is None:
        return Pass(status, Waiting(Reason.COMPARISON_NOT_READY, f"{on} has no version yet", on=on))
    try:
        found = await world.computations.difference(question, status.version or "", version)
    except NoSuchObject:
        message = f"there is no version {version[:12]}… in this stream"
        return Pass(status, Waiting(Reason.COMPARISON_NOT_READY, message, on=on, again=_LOOK_AGAIN))
    if isinstance(found, Waiting | Stalled):
        return Pass(status, found)
    return Pass(status.model_copy(update={"difference": found}), Done(Reason.SUCCEEDED))


def _not_used(resource: AggregateVersion, world: World) -> tuple[ObjectEvent, ...]:
    """What is said where a spec describes pods and there are none."""
    execution = resource.spec.execution
    used = None if execution is None else AggregateExecution(memory=execution.memory, athena=execution.athena)
    if execution is None or world.in_pods or execution == used:
        return ()
    message = "of spec.execution memory and athena are used: it is computed in pik's own process here"
    return (ObjectEvent(EventType.NORMAL, "ExecutionNotUsed", message),)


def _with_athena(status: AggregateVersionStatus, athena: AthenaStatus) -> AggregateVersionStatus:
    return status.model_copy(update={"athena": athena})


def _with_answer(
    status: AggregateVersionStatus, opened: OpenStream, answer: Answer
) -> AggregateVersionStatus:
    record = answer.record
    return status.model_copy(
        update={
            "asOf": answer.as_of.as_of,
            "version": record.version,
            "shortVersion": record.version[:12],
            "definitionHash": record.definition_hash,
            "inputsHash": record.inputs_hash,
            "inputCount": record.input_count,
            "sampleEventIDs": record.sample_event_ids,
            "rowCount": record.row_count,
            "resultURI": f"s3://{opened.place.bucket}/{rows_key(opened.stream, record.version)}",
            "difference": None,
        }
    )


def _is_finished(resource: AggregateVersion) -> bool:
    """Whether all that was asked has an answer: the spec is immutable, and so is the answer."""
    status, wanted = resource.status, resource.spec.compareTo
    return status.version is not None and (wanted is None or status.difference is not None)
