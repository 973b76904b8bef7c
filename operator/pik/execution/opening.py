"""A stream opened as a task says where it lies."""

from __future__ import annotations

from pathlib import Path

from pik.domain.layout import Layout
from pik.execution.parquet import ParquetCodec
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.ports.index import Index
from pik.ports.objects import ObjectStore
from pik.ports.system import Clock, Entropy, Offload


def open_stream(
    task: StreamTask,
    objects: ObjectStore,
    index: Index,
    scratch: Path,
    *,
    clock: Clock,
    entropy: Entropy,
    work: Offload,
) -> Stream:
    """`objects`: of the task's bucket; `index`: of its table; `scratch`: a folder for local copies of
    segments; `work`: threads for Parquet and DuckDB."""
    return Stream(
        namespace=task.namespace,
        name=task.name,
        layout=Layout(f"{task.prefix}/", task.stream_id),
        deduplication=task.deduplication,
        retention_days=task.retention_days,
        fingerprint_exclude=task.fingerprint_exclude,
        objects=objects,
        index=index,
        files=SegmentCache(objects, scratch / "segments", work),
        codec=ParquetCodec(),
        clock=clock,
        entropy=entropy,
        offload=work,
        epoch=task.epoch,
    )
