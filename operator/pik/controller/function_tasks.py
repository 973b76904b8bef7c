"""What the functions of a CaptureStream are told to do."""

from __future__ import annotations

from collections.abc import Sequence

from pik.api.aggregate_version import Measure as MeasureSpec
from pik.api.capture_stream import CaptureStream
from pik.api.sources import Source
from pik.aws.s3_objects import lock_of
from pik.controller.intake_rules import intake_rules, text_rule
from pik.controller.stream_sources import Prepared
from pik.controller.tasks import stream_task
from pik.controller.workshop import OpenStream
from pik.domain.errors import Unusable
from pik.functions import ingest, processor, replay
from pik.functions.messages import Form, SourceTask
from pik.functions.tasks import encode_task
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import Measure
from pik.planning.functions import FunctionKind

PROCESSING = "processing"
"""What the processor's versions are asked under."""


def environment(
    kind: FunctionKind,
    resource: CaptureStream,
    opened: OpenStream,
    sources: Sequence[Prepared],
    queue: str | None,
) -> dict[str, str]:
    """Of the function. `queue`: URL of that of processing. Raises `InvalidExpression`, `InvalidDefinition`
    and `Unusable`."""
    match kind:
        case FunctionKind.INGEST:
            return {ingest.TASK: encode_task(_ingest(resource, opened, sources))}
        case FunctionKind.REPLAY:
            return {replay.TASK: encode_task(_replay(resource, opened, queue))}
        case FunctionKind.PROCESSOR:
            return {processor.TASK: encode_task(_processor(resource, opened))}


def _ingest(resource: CaptureStream, opened: OpenStream, sources: Sequence[Prepared]) -> ingest.IngestTask:
    spec = resource.spec
    return ingest.IngestTask(
        stream_task(opened),
        intake_rules(spec),
        spec.index.writes,
        lock=lock_of(spec.storage),
        sources={each.arn: _source(each.source) for each in sources if each.arn is not None},
    )


def _source(source: Source) -> SourceTask:
    if source.eventBridge is not None:
        return SourceTask(Form.EVENT_BRIDGE, entity=text_rule(source.eventBridge.entityID))
    of_it = source.sqs or source.kinesis
    return SourceTask() if of_it is None else SourceTask(content_type=of_it.contentType)


def _replay(resource: CaptureStream, opened: OpenStream, queue: str | None) -> replay.ReplayTask:
    spec = resource.spec
    if spec.replay is None:
        raise Unusable("spec.replay is absent")
    wanted = spec.replay.lambda_
    url = wanted.queueURL or queue
    if url is None:
        raise Unusable("the queue that replay.lambda sends to is not there")
    return replay.ReplayTask(
        stream=stream_task(opened),
        queue_url=url,
        policy=spec.replayPolicy,
        most_events=wanted.maxEvents,
        most_bytes=wanted.maxMiB * 2**20,
        on_stale=wanted.onStale,
    )


def _processor(resource: CaptureStream, opened: OpenStream) -> processor.ProcessorTask:
    wanted = resource.spec.processing
    if wanted is None:
        raise Unusable("spec.processing is absent")
    task = processor.ProcessorTask(
        stream=stream_task(opened),
        name=PROCESSING,
        bucket=wanted.bucket,
        measures=tuple(map(_measure, wanted.measures)),
        timezone=wanted.timezone,
        group_by=wanted.groupBy or (),
        where=wanted.where,
    )
    query_of(task.definition)  # what is wrong with an expression is the spec's, and no function's
    return task


def _measure(given: MeasureSpec) -> Measure:
    return Measure(given.name, given.expression)
