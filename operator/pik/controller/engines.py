"""The engines that read Parquet and run SQL (pyarrow, DuckDB, sqlglot), loaded at their first use, and only
from here: a process that keeps streams and leaves the rest to others is without them half as large, and up
in half the time. A test holds that nothing else of an operator loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from pik.api.aggregate_version import Engine, KnownBy
from pik.api.targets import S3Format
from pik.domain.arrivals import Row
from pik.domain.columns import Columns
from pik.domain.instants import Instant
from pik.domain.intake import IntakeRules
from pik.domain.segments import SegmentHead
from pik.execution.aggregate.answers import DifferenceRecord
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.records import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.importing.progress import Objects, Progress
from pik.execution.replay.tools import Tools
from pik.execution.stream import Stream
from pik.planning.definitions import Definition
from pik.planning.replay.records import Comparison, End
from pik.ports.objects import ObjectStore
from pik.ports.readback import ReadBack
from pik.ports.selection import Selector
from pik.ports.sinks import Sink
from pik.ports.system import Offload

if TYPE_CHECKING:
    from pik.api.capture_stream import CaptureStream
    from pik.controller.stream_sources import Prepared
    from pik.controller.workshop import OpenStream
    from pik.planning.functions import FunctionKind


class Codec:
    """`ports.SegmentCodec`: that of `execution.parquet`."""

    def encode(self, head: SegmentHead, rows: Sequence[Row]) -> bytes:
        from pik.execution.parquet import ParquetCodec

        return ParquetCodec().encode(head, rows)

    def encode_columns(self, head: SegmentHead, arrivals: Columns) -> bytes:
        from pik.execution.parquet import ParquetCodec

        return ParquetCodec().encode_columns(head, arrivals)

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        from pik.execution.parquet import ParquetCodec

        return ParquetCodec().decode(body)


def selector_of(stream: Stream, memory: str | None) -> Selector:
    """Slices of the stream, with conditions as pik allows them. `memory`: as in `relation.connect`."""
    from pik.execution.replay.duckdb_selector import DuckDBSelector
    from pik.planning.expressions import guarded, parse_condition

    return DuckDBSelector(stream, lambda condition: guarded(parse_condition(condition)), memory)


async def run_replay(stream: Stream, run_id: str, tools: Tools, parallelism: int) -> End | None:
    """`execution.replay.run.run_replay`."""
    from pik.execution.replay.run import run_replay as run_all_shards

    return await run_all_shards(stream, run_id, tools, parallelism)


def check_definition(definition: Definition, engine: Engine) -> None:
    """Raises InvalidExpression, NotSupported among them, and InvalidDefinition, naming the field, for what
    the engine cannot compute whatever the events are."""
    from pik.planning.aggregate_sql import query_of
    from pik.planning.trino.query import check

    query = query_of(definition)
    _ = definition.zone
    if engine is Engine.ATHENA:
        check(query)


async def compute(
    stream: Stream,
    definition: Definition,
    *,
    namespace: str,
    name: str,
    known_by: KnownBy,
    as_of: Instant | None,
    memory: str | None,
    athena: Athena | None = None,
) -> Answer:
    """`execution.aggregate.compute.compute`, by Athena where there is one, else by DuckDB."""
    from pik.execution.aggregate.athena_engine import AthenaEngine
    from pik.execution.aggregate.compute import Engine as Computing
    from pik.execution.aggregate.compute import compute as compute_version
    from pik.execution.aggregate.duckdb_engine import DuckDBEngine

    def engine_of(definition: Definition, memory: str | None) -> Computing:
        if athena is None:
            return DuckDBEngine(definition, memory)
        return AthenaEngine(definition, athena, memory)

    return await compute_version(
        stream,
        definition,
        namespace=namespace,
        name=name,
        known_by=known_by,
        as_of=as_of,
        memory=memory,
        engine_of=engine_of,
    )


async def backfill(
    stream: Stream,
    capture: Capture,
    claims: ReplayClaims,
    rules: IntakeRules,
    source: ObjectStore,
    wanted: Objects,
    tell: Callable[[Progress], None],
    turn: AbstractAsyncContextManager[object],
) -> Progress:
    """`execution.importing.backfill.backfill`."""
    from pik.execution.importing.backfill import backfill as read_all

    return await read_all(stream, capture, claims, rules, source, wanted, tell, turn)


async def compare(stream: Stream, before: Answer, after: Answer, memory: str | None) -> DifferenceRecord:
    """`execution.aggregate.comparing.compare`."""
    from pik.execution.aggregate.comparing import compare as compare_versions

    return await compare_versions(stream, before, after, memory)


async def compare_target(stream: Stream, run_id: str, target: ReadBack, memory: str | None) -> Comparison:
    """`execution.replay.comparing.compare_target`."""
    from pik.execution.replay.comparing import compare_target as compare_both

    return await compare_both(stream, run_id, selector_of(stream, memory), target, memory)


def stream_read_back(stream: Stream, since: Instant, memory: str | None) -> ReadBack:
    """`execution.replay.stream_readback.StreamReadBack`."""
    from pik.execution.replay.stream_readback import StreamReadBack

    return StreamReadBack(stream, since, memory)


def s3_read_back(objects: ObjectStore, prefix: str, form: S3Format, offload: Offload) -> ReadBack:
    """`sinks.s3_reading.S3ReadBack`."""
    from pik.sinks.s3_reading import S3ReadBack

    return S3ReadBack(objects, prefix, form, offload)


def function_environment(
    kind: FunctionKind,
    resource: CaptureStream,
    opened: OpenStream,
    sources: Sequence[Prepared],
    queue: str | None,
) -> dict[str, str]:
    """`controller.function_tasks.environment`: functions compute too."""
    from pik.controller.function_tasks import environment

    return environment(kind, resource, opened, sources, queue)


def s3_sink(objects: ObjectStore, prefix: str, form: S3Format, offload: Offload) -> Sink:
    """`sinks.s3.S3Sink`."""
    from pik.sinks.s3 import S3Sink

    return S3Sink(objects, prefix, form, offload)
