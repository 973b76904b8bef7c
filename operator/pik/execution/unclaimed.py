"""Looking for buckets and tables that no CaptureStream has any more. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from pik.domain.errors import Denied, NoSuchBucket, NoSuchObject, Unusable
from pik.domain.instants import Instant
from pik.domain.layout import owner_key
from pik.execution.concurrency import all_of
from pik.execution.ownership import owner_in
from pik.planning.storage import prefixes_of
from pik.planning.unclaimed import Claim, Held, Made, Tagged, Unclaimed, sort_out, with_contents
from pik.ports.inventory import Inventory
from pik.ports.objects import ObjectStore

_AT_ONCE = 8


class Region(msgspec.Struct, frozen=True):
    """One region's services. `objects`: of a bucket."""

    inventory: Inventory
    objects: Callable[[str], ObjectStore]


class Search(msgspec.Struct, frozen=True):
    """What was found in one region. `unreadable`: buckets and tables whose tag does not say whose they are.
    `claimed`: how many buckets and tables somebody has."""

    unclaimed: tuple[Unclaimed, ...]
    unreadable: tuple[Tagged, ...]
    claimed: int


async def search(region: Region, cluster: str, claims: Sequence[Claim], namespace: str | None) -> Search:
    """`claims`: of all of the cluster's streams, or at least of those of `namespace`. Raises `Denied` where
    tags may not be read, and what the ports do."""
    found = sort_out(await region.inventory.tagged(), cluster, claims, namespace)
    buckets = [one for one in found.candidates if one.tagged.made is Made.BUCKET]
    created = await _created(region.inventory) if buckets else {}
    looked = await all_of(
        [
            partial(_bucket, region, one, created.get(one.tagged.name), cluster, claims)
            if one.tagged.made is Made.BUCKET
            else partial(_table, region, one)
            for one in found.candidates
        ],
        _AT_ONCE,
    )
    left = tuple(one for one in looked if one is not None)
    taken = sum(one is None for one in looked)
    return Search(left, found.unreadable, found.claimed + taken)


async def _created(inventory: Inventory) -> Mapping[str, Instant]:
    try:
        return await inventory.buckets()
    except Denied:
        return {}  # their age is then not told


async def _bucket(
    region: Region, one: Unclaimed, created: Instant | None, cluster: str, claims: Sequence[Claim]
) -> Unclaimed | None:
    name = one.tagged.name
    rules = await region.inventory.rules(name)
    if rules is None:
        return None  # its tags are remembered for a while
    objects = region.objects(name)
    held = [await _held(objects, prefix) for prefix in prefixes_of(rules)]
    found = with_contents(one, [record for record in held if record is not None], cluster, claims)
    return found and msgspec.structs.replace(found, created=created)


async def _held(objects: ObjectStore, prefix: str) -> Held | None:
    try:
        stored = await objects.read(owner_key(prefix))
        record = owner_in(prefix, stored.body)
    except (NoSuchObject, NoSuchBucket, Unusable):  # or somebody's own file of this name
        return None
    return Held(prefix, record.stream_id, str(record.claimant), stored.last_modified)


async def _table(region: Region, one: Unclaimed) -> Unclaimed | None:
    facts = await region.inventory.table(one.tagged.name)
    if facts is None:
        return None
    return msgspec.structs.replace(one, created=facts.created, entries=facts.entries, bytes=facts.bytes)
