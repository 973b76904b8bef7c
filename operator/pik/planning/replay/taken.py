"""What a stream alone takes events from by itself: a replay to there would only come back to it."""

from __future__ import annotations

from collections.abc import Iterator

from pik.api.capture_stream import CaptureStream
from pik.api.sources import SourceType
from pik.api.targets import TargetType
from pik.planning.replay.spec import TargetAddress

_INGEST = "ingest"  # the function that takes events


def taken_from(stream: CaptureStream) -> tuple[TargetAddress, ...]:
    """Its queues, the data streams and objects that nobody else reads, and its function. Not its event buses,
    and not a data stream that was there before: others read them too, and may want the replay; of what comes
    back from there the marker tells that it is no news."""
    return (*_sources(stream), *_function(stream))


def ingest_urls(stream: CaptureStream) -> tuple[str, ...]:
    """Where its function takes events over HTTP."""
    return tuple(each.url for each in stream.status.functions if each.name == _INGEST and each.url)


def _sources(stream: CaptureStream) -> Iterator[TargetAddress]:
    known = {each.name: each.address for each in stream.status.sources}
    for source in stream.spec.ingest.sources or ():
        address = known.get(source.name)
        if source.s3 is not None:
            yield TargetAddress(TargetType.S3, f"s3://{source.s3.bucket}/{source.s3.prefix}")
        elif address is None:
            continue
        elif source.type is SourceType.SQS:
            yield TargetAddress(TargetType.SQS, address)
        elif source.kinesis is not None and source.kinesis.streamARN is None:
            yield TargetAddress(TargetType.KINESIS, address)


def _function(stream: CaptureStream) -> Iterator[TargetAddress]:
    for each in stream.status.functions:
        if each.name == _INGEST:
            yield TargetAddress(TargetType.LAMBDA, each.arn or each.function)
