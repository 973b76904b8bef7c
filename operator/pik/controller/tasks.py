"""What a process that does not ask an API server is told of a stream."""

from __future__ import annotations

from pik.controller.intake_rules import fingerprint_exclude
from pik.controller.workshop import OpenStream
from pik.execution.stream_task import RoleTask, StreamTask


def stream_task(opened: OpenStream, role: RoleTask | None = None) -> StreamTask:
    """`role`: that is assumed for it."""
    stream, place, spec = opened.stream, opened.place, opened.spec
    return StreamTask(
        namespace=stream.namespace,
        name=stream.name,
        stream_id=place.stream_id,
        bucket=place.bucket,
        prefix=spec.storage.prefix,
        table=place.table,
        deduplication=stream.deduplication,
        epoch=place.epoch,
        region=spec.storage.region,
        retention_days=stream.retention_days,
        fingerprint_exclude=fingerprint_exclude(spec),
        role=role,
    )
