"""What feeds a stream besides the gateway: its functions, what they read, and what is called as they need it.
Names are as precise as the stream's id is known."""

from __future__ import annotations

import msgspec

from pik.api.capture_stream import CaptureStream
from pik.api.functions import FunctionSettings
from pik.api.sources import Source
from pik.planning.functions import FunctionKind, function_name
from pik.planning.sources import DEAD, REPLAY_QUEUE, source_name
from pik.planning.storage import Names


class Function(msgspec.Struct, frozen=True):
    """`role`: ARN of the one that it works with. `url`: whether it has a Function URL; `bounded`: whether
    instances are reserved for it."""

    kind: FunctionKind
    name: str
    role: str
    url: bool = False
    bounded: bool = False


class Feed(msgspec.Struct, frozen=True):
    """`queues`, `streams`: names of those that pik makes; `reads_queues`, `reads_streams`: names of those of
    them that `ingest` reads. `others_queues`, `others_streams`: ARNs that it is attached to; `no_queues`,
    `no_streams`: what pik's own would be called there, which it looks for in the end. `rules`: buses
    and names. `objects`: buckets and prefixes that are read into the stream. `replay_queue`: the name of
    that of processing; `replays_to`: URL of the queue of `replay`, where it is another."""

    functions: tuple[Function, ...] = ()
    queues: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    reads_queues: tuple[str, ...] = ()
    reads_streams: tuple[str, ...] = ()
    others_queues: tuple[str, ...] = ()
    others_streams: tuple[str, ...] = ()
    no_queues: tuple[str, ...] = ()
    no_streams: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()
    objects: tuple[tuple[str, str], ...] = ()
    replay_queue: str | None = None
    replays_to: str | None = None


def feed_of(stream: CaptureStream) -> Feed:
    """By its spec; its id by its status."""
    meta, spec = stream.metadata, stream.spec
    names = Names("", meta.namespace, meta.name, "", "")
    stream_id = stream.status.streamID or "*"
    ingest, processing = spec.ingest.lambda_, spec.processing
    replay = None if spec.replay is None else spec.replay.lambda_
    wanted: list[tuple[FunctionKind, FunctionSettings | None]] = [
        (FunctionKind.INGEST, ingest),
        (FunctionKind.REPLAY, replay),
        (FunctionKind.PROCESSOR, processing),
    ]
    functions = tuple(
        Function(
            kind,
            function_name(names, stream_id, kind),
            settings.roleARN,
            url=kind is FunctionKind.INGEST and ingest is not None and ingest.url is not None,
            bounded=settings.reservedConcurrency is not None,
        )
        for kind, settings in wanted
        if settings is not None
    )

    def name(source: str, end: str = "") -> str:
        return source_name(names, stream_id, source, end)

    sources = spec.ingest.sources or ()
    own = [name(one.name) for one in sources if _has_own_queue(one)]
    dead = [name(one.name, DEAD) for one in sources if _has_own_queue(one)]
    processed = [] if processing is None else [name(REPLAY_QUEUE), name(REPLAY_QUEUE, DEAD)]
    streams = tuple(name(one.name) for one in sources if one.kinesis and one.kinesis.streamARN is None)
    return Feed(
        functions=functions,
        queues=(*own, *dead, *processed),
        streams=streams,
        reads_queues=tuple(own),
        reads_streams=streams,
        others_queues=tuple(one.sqs.queueARN for one in sources if one.sqs and one.sqs.queueARN),
        others_streams=tuple(
            one.kinesis.streamARN for one in sources if one.kinesis and one.kinesis.streamARN
        ),
        no_queues=tuple(
            name(one.name, end) for one in sources if one.sqs and one.sqs.queueARN for end in ("", DEAD)
        ),
        no_streams=tuple(name(one.name) for one in sources if one.kinesis and one.kinesis.streamARN),
        rules=tuple((one.eventBridge.busName, name(one.name)) for one in sources if one.eventBridge),
        objects=tuple((one.s3.bucket, one.s3.prefix) for one in sources if one.s3),
        replay_queue=None if processing is None else name(REPLAY_QUEUE),
        replays_to=None if replay is None else replay.queueURL,
    )


def _has_own_queue(source: Source) -> bool:
    return source.eventBridge is not None or (source.sqs is not None and source.sqs.queueARN is None)
