"""The bucket and the table of a CaptureStream: looked at, and set right. What is not as it should be is found
here, and only here: every time when the object has changed, and once in a resync."""

from __future__ import annotations

from dataclasses import dataclass

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType, is_true
from pik.controller.naming import claimant_of, names_of
from pik.controller.objects import ObjectKey
from pik.controller.told import carried_out
from pik.controller.world import World
from pik.execution.ownership import Claimant, OwnerRecord, claim, read_owner
from pik.planning.drift import Drifted, plan
from pik.planning.storage import (
    Names,
    SetTableTags,
    bucket_differences,
    longer_retention,
    table_differences,
    table_name,
)

TAKE_OVER_FROM = "pik.dev/take-over-from"
"""Annotation: the old owner's cluster/namespace/name, written by a person."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """As it is now. `drift`: what was found otherwise."""

    owner: OwnerRecord
    drift: Drifted


@dataclass(frozen=True, slots=True)
class Table:
    """As it is now. `absent`: it is still to be made, when the index is built. `longer`: what is to be done
    when its entries have been made anew, since events are kept longer than the entries live."""

    name: str
    absent: bool
    longer: SetTableTags | None
    drift: Drifted


async def bucket_of(resource: CaptureStream, world: World) -> Bucket:
    """The bucket, set right, with this stream as its owner. Raises what `claim` and `bucket_differences` do,
    and what AWS says."""
    spec, status = resource.spec, resource.status
    names = names_of(resource, world)
    cloud = world.cloud.of(resource)
    provisioner = cloud.provisioner(spec.storage.region)
    objects = cloud.objects(names.bucket, spec.storage)

    async def claimed() -> OwnerRecord:
        return await claim(
            objects,
            names.prefix,
            claimant_of(resource, world),
            world.entropy,
            known_stream=status.streamID,
            take_over_from=resource.metadata.annotations.get(TAKE_OVER_FROM),
            is_living=lambda owner: _is_there_with(owner, names, world),
        )

    settled = _is_settled(resource, ConditionType.STORAGE_READY)
    found_right = settled and is_true(status.conditions, ConditionType.STORAGE_READY)
    there = await provisioner.bucket(names.bucket, whole=not found_right)
    owner = None
    if there is not None and (
        status.streamID is not None or await read_owner(objects, names.prefix) is not None
    ):
        owner = await claimed()  # before anything is changed: it may be another's, or lost
    differences = bucket_differences(
        spec, names, there, owned=owner is not None, known_stream=status.streamID
    )
    wanted = plan(spec.driftPolicy, differences, settled=settled)
    for action in wanted.actions:
        await provisioner.apply(action)
    return Bucket(owner or await claimed(), wanted.drift)


async def table_of(resource: CaptureStream, world: World, owner: OwnerRecord) -> Table:
    """The table, set right where there is one. Raises what `table_differences` does, and what AWS says."""
    spec = resource.spec
    names = names_of(resource, world)
    name = table_name(spec, names.name, owner.stream_id)
    provisioner = world.cloud.of(resource).provisioner(spec.storage.region)
    settled = _is_settled(resource, ConditionType.INDEX_READY)
    observed = await provisioner.table(name)
    differences = table_differences(spec, names, name, owner.stream_id, observed)
    if observed is None:
        wanted = plan(spec.driftPolicy, differences[:1], settled=settled)
        return Table(name, True, None, wanted.drift)
    wanted = plan(spec.driftPolicy, differences, settled=settled)
    for action in wanted.actions:
        await provisioner.apply(action)
    return Table(name, False, longer_retention(spec, name, observed), wanted.drift)


async def ensure_table(resource: CaptureStream, world: World, stream_id: str, name: str) -> None:
    """The table as the spec has it, made where there is none."""
    names = names_of(resource, world)
    provisioner = world.cloud.of(resource).provisioner(resource.spec.storage.region)
    there = await provisioner.table(name)
    for difference in table_differences(resource.spec, names, name, stream_id, there):
        await provisioner.apply(difference.action)


def _is_settled(resource: CaptureStream, part: ConditionType) -> bool:
    """Whether this spec was carried out before, so that what differs from it was changed by somebody else."""
    return carried_out(resource.status, part) == resource.metadata.generation


def _is_there_with(owner: Claimant, names: Names, world: World) -> bool:
    """Whether the owner is a stream of this cluster that wants this very bucket and prefix. One that nothing
    can be said of, since it was made for another version, may be."""
    key = ObjectKey(CaptureStream.KIND, owner.namespace, owner.name)
    if owner.cluster != world.cluster or key not in world.objects.keys():  # noqa: SIM118 - no mapping
        return False
    there = world.objects.find(key)
    if not isinstance(there, CaptureStream):
        return True
    its = names_of(there, world)
    return (its.bucket, its.prefix) == (names.bucket, names.prefix)
