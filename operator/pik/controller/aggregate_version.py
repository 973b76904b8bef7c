"""AggregateVersion: computed once, kept for good, and compared event by event (law 7)."""

from __future__ import annotations

from pik.api.aggregate_version import AggregateVersion, AggregateVersionStatus, Difference
from pik.api.conditions import Reason
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import Done, Pass, Stalled, Waiting
from pik.controller.replay_job import stream_of, waits_for_stream
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import NoSuchObject
from pik.domain.instants import parse_instant
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.differences import Change, difference
from pik.execution.aggregate.records import Answer, read_answer, rows_key
from pik.execution.aggregate.repeats import repeated
from pik.planning.definitions import definition_of

_COMPUTE = "compute"  # the names of these works in the background
_COMPARE = "compare"
_LOOK_AGAIN = 60.0  # seconds, for a version that another cluster or a person may bring


async def reconcile_aggregate(resource: AggregateVersion, world: World) -> Pass:
    """One pass. Raises what the stream and the computation do."""
    spec, status, meta = resource.spec, resource.status, resource.metadata
    if spec.suspend:
        await world.background.stop(key_of(resource))
        return Pass(status, Waiting(Reason.SUSPENDED))
    if _is_finished(resource):
        return Pass(status, Done(Reason.SUCCEEDED))
    stream_key = stream_of(meta.namespace, spec.streamRef.namespace, spec.streamRef.name)
    held = await waits_for_stream(stream_key, meta.namespace, world)
    if isinstance(held, Waiting | Stalled):
        return Pass(status, held)
    _, opened = held
    definition = definition_of(spec, opened.place.stream_id)

    async def work() -> Answer:
        return await compute(
            opened.stream,
            definition,
            namespace=meta.namespace,
            name=meta.name,
            known_by=spec.knownBy,
            as_of=None if spec.asOf is None else parse_instant(spec.asOf),
            memory=world.memory,
        )

    if status.version is None or status.definitionHash != definition.hash:
        computed = world.background.poll(key_of(resource), _COMPUTE, definition.hash, work)
        if computed is None:
            return Pass(status, Waiting(Reason.COMPUTING))
        status = _with_answer(status, opened, computed.value)
    return await _compared(resource, status, opened, world)


async def _compared(
    resource: AggregateVersion, status: AggregateVersionStatus, opened: OpenStream, world: World
) -> Pass:
    """The difference from the version that compareTo names, once there is one."""
    wanted = resource.spec.compareTo
    if wanted is None:
        return Pass(status, Done(Reason.SUCCEEDED))
    version, on = wanted.version, None
    if wanted.name is not None:
        on = ObjectKey(AggregateVersion.KIND, resource.metadata.namespace, wanted.name)
        other = world.objects.find(on)
        version = other.status.version if isinstance(other, AggregateVersion) else None
    if version is None:
        return Pass(status, Waiting(Reason.COMPARISON_NOT_READY, f"{on} has no version yet", on=on))
    own = status.version or ""

    async def work() -> Difference | None:
        try:
            before = await read_answer(opened.stream, version)
        except NoSuchObject:
            return None
        return await _difference(opened, before, await read_answer(opened.stream, own), world.memory)

    compared = world.background.poll(key_of(resource), _COMPARE, f"{version} {own}", work)
    if compared is None:
        return Pass(status, Waiting(Reason.COMPUTING, f"the difference from {version[:12]} is computed"))
    if compared.value is None:
        message = f"there is no version {version[:12]}… in this stream"
        return Pass(status, Waiting(Reason.COMPARISON_NOT_READY, message, on=on, again=_LOOK_AGAIN))
    return Pass(status.model_copy(update={"difference": compared.value}), Done(Reason.SUCCEEDED))


async def _difference(opened: OpenStream, before: Answer, after: Answer, memory: str | None) -> Difference:
    found = await difference(opened.stream, before, after, memory)
    return Difference(
        against=before.version,
        rowsChanged=len(found.rows),
        late=found.counts[Change.LATE],
        duplicates=await repeated(opened.stream, before, after, memory),
        conflicts=found.counts[Change.CHANGED],
        missing=found.counts[Change.MISSING],
        new=found.counts[Change.NEW],
    )


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
