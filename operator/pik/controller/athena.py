"""AggregateVersions that Athena computes: the table that it reads, where it works, and what it scanned."""

from __future__ import annotations

from pik.api.aggregate_version import AggregateVersion, AthenaStatus, Engine
from pik.controller.cloud import Cloud
from pik.controller.outcome import EventType, ObjectEvent
from pik.controller.workshop import OpenStream
from pik.domain.layout import Layout
from pik.execution.aggregate.queries import find_summary, queries_prefix
from pik.execution.aggregate.records import Answer
from pik.planning.trino.tables import DATABASE, table_name, wanted_table
from pik.ports.objects import ObjectStore
from pik.ports.queries import QueryService

PRIMARY = "primary"
"""The work group that every account has."""

_SHOWN = 10  # queries in a status


def work_group_of(resource: AggregateVersion) -> str | None:
    """In which the queries run. None: another engine computes it."""
    if resource.spec.engine is not Engine.ATHENA:
        return None
    execution = resource.spec.execution
    athena = None if execution is None else execution.athena
    return PRIMARY if athena is None or athena.workGroup is None else athena.workGroup


def queries_of(cloud: Cloud, region: str | None, work_group: str, bucket: str, prefix: str) -> QueryService:
    """Whose results lie in the stream's bucket, beside its other objects. `prefix`: with its slash."""
    return cloud.queries(region, work_group, f"s3://{bucket}/{prefix}athena/")


async def keep_table(opened: OpenStream) -> tuple[ObjectEvent, ...]:
    """Makes the stream's table, or sets it right. Raises what AWS calls do, and `Unusable`."""
    place, stream = opened.place, opened.stream
    name = table_name(place.stream_id)
    catalog = opened.cloud.catalog(opened.spec.storage.region)
    change = await catalog.ensure(DATABASE, name, wanted_table(place.bucket, stream.layout))
    if change.created:
        return (ObjectEvent(EventType.NORMAL, "TableCreated", f"Glue has the table {DATABASE}.{name} now"),)
    if change.repaired:
        message = f"{DATABASE}.{name} in Glue was set right: {', '.join(change.repaired)}"
        return (ObjectEvent(EventType.WARNING, "TableRepaired", message),)
    return ()


async def drop_table(
    cloud: Cloud, region: str | None, objects: ObjectStore, prefix: str, stream_id: str
) -> None:
    """Takes the table of a stream that is deleted out of Glue, where Athena was ever asked about it: its
    bucket says so, and without that nothing is asked of Glue. `prefix`: of the stream's keys, with its
    slash."""
    async for _ in objects.list(queries_prefix(Layout(prefix, stream_id))):
        await cloud.catalog(region).drop(DATABASE, table_name(stream_id), stream_id)
        return


async def status_of(opened: OpenStream, work_group: str, answer: Answer | None) -> AthenaStatus:
    """`answer`: None while there is none."""
    status = AthenaStatus(database=DATABASE, table=table_name(opened.place.stream_id), workGroup=work_group)
    found = None
    if answer is not None:
        found = await find_summary(opened.stream, answer.record.definition_hash, answer.as_of)
    if found is None:
        return status
    return status.model_copy(
        update={"queryExecutionIDs": found.query_ids[-_SHOWN:], "bytesScanned": found.bytes_scanned}
    )
