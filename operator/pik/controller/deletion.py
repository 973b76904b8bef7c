"""The end of a CaptureStream: what its deletion removes, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import Reason
from pik.api.storage import DeletionPolicy
from pik.controller.athena import drop_table
from pik.controller.faults import outcome_of
from pik.controller.feed_removal import is_fed, removed
from pik.controller.naming import claimant_of, names_of
from pik.controller.objects import key_of
from pik.controller.outcome import Done, EventType, ObjectEvent, Pass
from pik.controller.world import World
from pik.domain.errors import NoSuchBucket, OwnershipConflict, PikError
from pik.domain.instants import Instant, parse_instant
from pik.execution.ownership import owners, read_owner
from pik.planning.storage import is_made_for, is_of_stream, table_name

ABANDON = "pik.dev/abandon-storage"
"""Annotation: `true`, written by a person; a deletion leaves bucket and table as they are."""


def wants_finalizer(resource: CaptureStream) -> bool:
    """Whether its deletion removes anything outside of it."""
    return resource.spec.storage.deletionPolicy is DeletionPolicy.DELETE or is_fed(resource)


async def finalize_stream(resource: CaptureStream, world: World) -> Pass:
    """What is to be done before the object may go: what feeds it is taken away. What holds events is removed
    only with deletionPolicy Delete, and only what pik made and this stream owns (law 9).

    A deletion that does not succeed is tried until `world.timing.deletion` has passed since it was asked for;
    then, or at once where a person says so by annotation, the object goes, and an event names what stays.
    """
    key, status = key_of(resource), resource.status
    await world.background.stop(key)
    await world.workshop.close(key)
    delete = resource.spec.storage.deletionPolicy is DeletionPolicy.DELETE
    if not (delete or is_fed(resource)):
        return Pass(status, Done(Reason.PROVISIONED))
    if resource.metadata.annotations.get(ABANDON) == "true":
        return _abandoned(resource, world, f"the annotation {ABANDON} says so")
    try:
        left = await (_removed_whole if delete else _unfed)(resource, world)
    except PikError as error:
        return _undeleted(resource, world, error)
    if not left:
        return Pass(status, Done(Reason.PROVISIONED))
    message = f"these stay, with what they hold: {', '.join(left)}"
    return Pass(status, Done(Reason.PROVISIONED), (ObjectEvent(EventType.NORMAL, "SourceLeft", message),))


async def _unfed(resource: CaptureStream, world: World) -> list[str]:
    """Takes away what feeds the stream, if it is still ours. What is left."""
    names, stream_id = names_of(resource, world), resource.status.streamID
    objects = world.cloud.of(resource).objects(names.bucket, resource.spec.storage)
    try:
        owner = await read_owner(objects, names.prefix)
    except NoSuchBucket:
        owner = None
    if stream_id is None or (owner is not None and owner.claimant != claimant_of(resource, world)):
        return []  # whoever has taken it over has also what feeds it
    return await removed(resource, world, stream_id, with_events=False)


async def _removed_whole(resource: CaptureStream, world: World) -> list[str]:
    """Takes away what feeds the stream, and deletes its storage; both only if all of it is ours."""
    ours = await _own_storage(resource, world)
    if ours is None:
        return []
    if ours.stream_id is not None:
        await removed(resource, world, ours.stream_id, with_events=True)
    await _remove_storage(resource, world, ours)
    return []


async def remove_storage(resource: CaptureStream, world: World) -> None:
    """Deletes table and bucket, whatever is in them; done again it goes on where it was.

    Raises `OwnershipConflict` where another stream owns or shares them, `RoleNotAllowed`, and what AWS says.
    """
    ours = await _own_storage(resource, world)
    if ours is not None:
        await _remove_storage(resource, world, ours)


@dataclass(frozen=True, slots=True)
class _Ours:
    """`bucket`: whether there is one."""

    bucket: bool
    stream_id: str | None


async def _own_storage(resource: CaptureStream, world: World) -> _Ours | None:
    """None: it never got what it asked for. Raises as `remove_storage`."""
    spec, stream_id = resource.spec, resource.status.streamID
    names = names_of(resource, world)
    cloud = world.cloud.of(resource)
    there = await cloud.provisioner(spec.storage.region).bucket(names.bucket)
    if there is None:
        return _Ours(bucket=False, stream_id=stream_id)
    objects = cloud.objects(names.bucket, spec.storage)
    owner = await read_owner(objects, names.prefix)
    ours = is_made_for(names, there) if owner is None else owner.claimant == claimant_of(resource, world)
    if not ours and stream_id is None:
        return None
    if not ours:
        whose = "to nobody that is known" if owner is None else f"to {owner.claimant} now"
        raise OwnershipConflict(f"{names.bucket}/{names.prefix} belongs {whose}")
    async for prefix, other in owners(objects):
        if prefix != names.prefix:
            raise OwnershipConflict(f"{names.bucket}/{prefix} belongs to {other.claimant}")
    return _Ours(bucket=True, stream_id=stream_id if owner is None else owner.stream_id)


async def _remove_storage(resource: CaptureStream, world: World, ours: _Ours) -> None:
    spec, names = resource.spec, names_of(resource, world)
    cloud = world.cloud.of(resource)
    provisioner = cloud.provisioner(spec.storage.region)
    if ours.stream_id is not None:
        table = table_name(spec, names.name, ours.stream_id)
        index = await provisioner.table(table)
        if index is not None and is_of_stream(index, ours.stream_id):
            await provisioner.delete_table(table)
    if ours.bucket:
        if ours.stream_id is not None:
            objects = cloud.objects(names.bucket, spec.storage)
            await drop_table(cloud, spec.storage.region, objects, names.prefix, ours.stream_id)
        await provisioner.delete_bucket(names.bucket)


def _undeleted(resource: CaptureStream, world: World, error: PikError) -> Pass:
    """The deletion is tried again, or given up."""
    asked = parse_instant(resource.metadata.deletionTimestamp or world.clock.now().text)
    if world.passed(asked.micros, world.timing.deletion):
        return _abandoned(resource, world, f"since {asked.text} it could not be deleted: {error}")
    given_up = Instant(asked.micros + round(world.timing.deletion * 1_000_000))
    message = (
        f"what AWS has of it is not deleted yet: {error}. What is left at {given_up.text[:19]}Z stays; "
        f'the annotation {ABANDON}: "true" leaves it at once'
    )
    return Pass(resource.status, replace(outcome_of(error, CaptureStream.KIND), message=message))


def _abandoned(resource: CaptureStream, world: World, why: str) -> Pass:
    status = resource.status
    names = names_of(resource, world)
    left = [f"function {each.function}" for each in status.functions]
    left += [f"what is made for the source {each.name}" for each in status.sources]
    if resource.spec.storage.deletionPolicy is DeletionPolicy.DELETE:
        left.append(f"bucket {names.bucket}")
        table = resource.spec.index.tableName or (status.index and status.index.table)
        if table:
            left.append(f"table {table}")
    message = f"{' and '.join(left)} may be left, with what they hold: {why}"
    event = ObjectEvent(EventType.WARNING, "StorageAbandoned", message)
    return Pass(status, Done(Reason.PROVISIONED, message), (event,))
