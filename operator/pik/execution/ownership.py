"""Whose a bucket's prefix is: the owner record, created with If-None-Match (design: CaptureStream, and Run
protocol for the takeover and its epoch)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from pik.domain.errors import AlreadyExists, Changed, DataLost, NoSuchObject, OwnershipConflict, Unusable
from pik.domain.layout import owner_key
from pik.execution.stream import Stream
from pik.ports.objects import ObjectStore
from pik.ports.system import Entropy


class Claimant(msgspec.Struct, frozen=True):
    """A CaptureStream, told apart from those of the same name in other clusters."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.name}"


class OwnerRecord(msgspec.Struct, frozen=True):
    """`owner.json`. `epoch` begins with 1, and each takeover raises it."""

    stream_id: str  # 32 hex digits
    cluster: str
    namespace: str
    name: str
    epoch: int

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.cluster, self.namespace, self.name)


async def read_owner(objects: ObjectStore, prefix: str) -> OwnerRecord | None:
    """The owner record under the prefix (empty, or ending with `/`). Raises `Unusable` for what is none."""
    try:
        stored = await objects.read(owner_key(prefix))
    except NoSuchObject:
        return None
    return owner_in(prefix, stored.body)


async def owners(objects: ObjectStore) -> AsyncIterator[tuple[str, OwnerRecord]]:
    """Every owner record of a bucket, by its prefix (empty, or ending with `/`). Lists the whole bucket."""
    async for info in objects.list(""):
        prefix = info.key.removesuffix(owner_key(""))
        if info.key != owner_key(prefix):
            continue
        try:
            record = await read_owner(objects, prefix)
        except Unusable:
            continue  # somebody's own file of this name
        if record is not None:
            yield prefix, record


async def claim(
    objects: ObjectStore,
    prefix: str,
    claimant: Claimant,
    entropy: Entropy,
    *,
    known_stream: str | None = None,
    take_over_from: str | None = None,
    is_living: Callable[[Claimant], bool] = lambda _: False,
) -> OwnerRecord:
    """The record that says that the prefix is the claimant's; done again it changes nothing.

    Mints the stream's id where there is no record yet. `known_stream`: the id that this stream has had
    before. `take_over_from`: the old owner's `cluster/namespace/name`, as a person wrote it. `is_living`:
    whether an owner is known to be still there, and so to have the prefix still.

    Raises `OwnershipConflict` where another owns it, `DataLost` where the record of a known stream is gone or
    is another's, `Unusable` where there is no record and yet something lies there, or what is none.
    """
    record = await read_owner(objects, prefix)
    if record is None:
        if known_stream is not None:
            raise DataLost(f"the owner record of stream {known_stream} is gone from {prefix or 'the bucket'}")
        record = await _mint(objects, prefix, claimant, entropy)
    if record.claimant != claimant:
        _check_takeover(prefix, record, claimant, take_over_from, is_living)
        record = await _take_over(objects, prefix, claimant, record)
    if known_stream not in (None, record.stream_id):
        raise DataLost(f"{prefix or 'the bucket'} holds stream {record.stream_id}, not {known_stream}")
    return record


async def check_epoch(stream: Stream) -> None:
    """Raises `OwnershipConflict` where another has taken the stream over since this process opened it.

    Asked after a segment has landed and before it is answered: a takeover that comes later lists the segment.
    """
    if stream.epoch is None:
        return
    there = await read_owner(stream.objects, stream.layout.prefix)
    if there is None or (there.stream_id, there.epoch) != (stream.layout.stream_id, stream.epoch):
        holder = "nobody" if there is None else f"{there.claimant}, epoch {there.epoch}"
        raise OwnershipConflict(f"stream {stream.layout.stream_id} now belongs to {holder}")


async def _mint(objects: ObjectStore, prefix: str, claimant: Claimant, entropy: Entropy) -> OwnerRecord:
    await _check_vacant(objects, prefix)
    record = OwnerRecord(entropy.hex(32), claimant.cluster, claimant.namespace, claimant.name, epoch=1)
    try:
        await objects.create(owner_key(prefix), msgspec.json.encode(record))
    except AlreadyExists:
        # another was first; or we were, by a call whose answer was lost
        there = await read_owner(objects, prefix)
        if there is None:
            raise
        return there
    return record


async def _check_vacant(objects: ObjectStore, prefix: str) -> None:
    """Streams may not lie in one another: the outer one's lifecycle rules would reach the inner one."""
    async for info in objects.list(prefix):
        if info.key != owner_key(prefix):
            raise Unusable(f"{info.key} lies under the prefix, and no owner record: choose another prefix")
    parts = prefix.rstrip("/").split("/")[:-1]
    for end in range(len(parts) + 1):
        outer = "".join(f"{part}/" for part in parts[:end])
        if outer == prefix:
            continue
        record = await read_owner(objects, outer)
        if record is not None:
            raise OwnershipConflict(f"{prefix} lies inside of {outer or 'the bucket'}, of {record.claimant}")


def _check_takeover(
    prefix: str,
    old: OwnerRecord,
    claimant: Claimant,
    take_over_from: str | None,
    is_living: Callable[[Claimant], bool],
) -> None:
    """Raises `OwnershipConflict` unless a person has named the old owner, who is gone and of the claimant's
    own namespace: naming it takes no right to what it has, so a tenant could take any other's."""
    belongs = f"{prefix or 'the bucket'} belongs to {old.claimant} (stream {old.stream_id})"
    if old.namespace != claimant.namespace:
        raise OwnershipConflict(f"{belongs}, and a takeover stays in its namespace: use another prefix")
    if str(old.claimant) != take_over_from:
        raise OwnershipConflict(
            f"{belongs}; if that one is gone for good, name it as the owner to take over from"
        )
    if is_living(old.claimant):
        raise OwnershipConflict(f"{belongs}, which is still there: it is taken over when that one is deleted")


async def _take_over(objects: ObjectStore, prefix: str, claimant: Claimant, old: OwnerRecord) -> OwnerRecord:
    key = owner_key(prefix)
    stored = await objects.read(key)
    new = OwnerRecord(old.stream_id, claimant.cluster, claimant.namespace, claimant.name, old.epoch + 1)
    if owner_in(prefix, stored.body) != old:
        raise OwnershipConflict(f"the owner of {prefix or 'the bucket'} is changing")
    try:
        await objects.replace(key, msgspec.json.encode(new), stored.etag)
    except Changed as error:
        if await read_owner(objects, prefix) != new:  # else it was us, by a call whose answer was lost
            raise OwnershipConflict(f"the owner of {prefix or 'the bucket'} has changed") from error
    return new


def owner_in(prefix: str, body: bytes) -> OwnerRecord:
    """What an object at `owner_key(prefix)` says. Raises `Unusable`."""
    try:
        return msgspec.json.decode(body, type=OwnerRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unusable(
            f"{owner_key(prefix)} does not say whose {prefix or 'the bucket'} is ({error}): "
            "bring back the version of it that did"
        ) from error
