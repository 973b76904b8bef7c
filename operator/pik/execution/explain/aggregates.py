"""Which versions of aggregates an event went into, by the inputs that are kept of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pik.domain.errors import NoSuchObject, Tampered
from pik.domain.instants import Instant
from pik.domain.segments import parse_segment_id
from pik.execution.aggregate.records import VersionRecord, inputs_key, read_answer, versions
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream

_PATIENCE = Patience()


class AggregateUse(msgspec.Struct, frozen=True):
    """A version that the event is one of the inputs of. `key` and `row`: the arrival that went in."""

    version: str
    definition_hash: str
    window: str  # from/to
    measures: tuple[str, ...]  # name = expression
    as_of: str | None  # the latest instant at which it is known to be the answer
    bucket: Instant
    key: str
    row: int
    fingerprint: str


async def aggregates_of(stream: Stream, event_id: str, event_times: Sequence[Instant]) -> list[AggregateUse]:
    """In order of the versions' names. Versions whose window holds none of the event times are passed over.

    Raises `NoSuchObject` and `Tampered` where a version's inputs are not there or cannot be read.
    """
    uses = []
    for record in await versions(stream):
        if any(time in record.definition.span for time in event_times):
            found = await _input(stream, record, event_id)
            if found is not None:
                uses.append(_use(stream, record, await _as_of(stream, record.version), *found))
    return uses


async def _as_of(stream: Stream, version: str) -> str | None:
    try:
        return (await read_answer(stream, version)).as_of.as_of
    except NoSuchObject:
        return None  # it was computed, and its writer died before it said when for


async def _input(
    stream: Stream, record: VersionRecord, event_id: str
) -> tuple[Instant, str, int, str] | None:
    """Bucket, segment, row and fingerprint of the event among the version's inputs."""
    for part in range(record.input_parts):
        key = inputs_key(stream, record.version, part)
        stored = await until_answered(stream.clock, _PATIENCE, lambda key=key: stream.objects.read(key))  # type: ignore[misc]
        try:
            found = await stream.offload(_look, stored.body, event_id)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise Tampered(f"{key} cannot be read: {error}") from error
        if found is not None:
            return found
    return None


def _look(body: bytes, event_id: str) -> tuple[Instant, str, int, str] | None:
    columns = ["event_id", "bucket", "segment", "row", "fingerprint"]
    rows = pq.read_table(pa.BufferReader(body), columns=columns, filters=[("event_id", "==", event_id)])
    if not rows.num_rows:
        return None
    bucket = rows["bucket"].cast(pa.int64())[0].as_py()
    return Instant(bucket), rows["segment"][0].as_py(), rows["row"][0].as_py(), rows["fingerprint"][0].as_py()


def _use(
    stream: Stream,
    record: VersionRecord,
    as_of: str | None,
    bucket: Instant,
    segment: str,
    row: int,
    fingerprint: str,
) -> AggregateUse:
    definition = record.definition
    return AggregateUse(
        version=record.version,
        definition_hash=record.definition_hash,
        window=f"{definition.window.from_}/{definition.window.to}",
        measures=tuple(f"{measure.name} = {measure.expression}" for measure in definition.measures),
        as_of=as_of,
        bucket=bucket,
        key=stream.layout.segment(parse_segment_id(segment)),
        row=row,
        fingerprint=fingerprint,
    )
