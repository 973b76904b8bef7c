"""Buckets and tables that pik made and that no CaptureStream has any more: kept by deletionPolicy Retain, or
left over where a deletion was given up. Pure.

What is told apart is whose something is, and nothing is said to be unclaimed in doubt: what another cluster
owns, what an owner's tag does not say, and what a stream is only about to have, are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from pik.api.capture_stream import CaptureStream
from pik.domain.instants import Instant
from pik.planning.storage import OWNER_TAG, STREAM_TAG, bucket_name, owner_tag


class Made(StrEnum):
    BUCKET = "Bucket"
    TABLE = "Table"


class Tagged(msgspec.Struct, frozen=True):
    """A bucket or a table with pik's tags. `region`: where it is."""

    made: Made
    name: str
    region: str
    tags: dict[str, str]

    @property
    def stream_id(self) -> str | None:
        """Of a table: a bucket may hold several streams."""
        return self.tags.get(STREAM_TAG)


class Claim(msgspec.Struct, frozen=True):
    """What one CaptureStream has, or will have. `owner`: cluster/namespace/name. `settled`: whether its
    status says which table it has."""

    owner: str
    buckets: frozenset[str]
    tables: frozenset[str]
    settled: bool


class Why(StrEnum):
    """Why nobody has it. Gone: there is no CaptureStream of its owner's name. Elsewhere: there is one, which
    has another bucket or table."""

    GONE = "Gone"
    ELSEWHERE = "Elsewhere"


class Held(msgspec.Struct, frozen=True):
    """A stream that lies in a bucket, by its owner record. `prefix`: ends with a slash."""

    prefix: str
    stream_id: str
    owner: str  # cluster/namespace/name
    since: Instant  # of the record: when it was minted, or last taken over


class Unclaimed(msgspec.Struct, frozen=True):
    """`owner`: namespace/name. `created`: None where that may not be looked up. `held`: of a bucket.
    `entries` and `bytes`: of a table, as DynamoDB counted them within its last six hours. `others`: who else
    has something in the bucket, so that it is not to be deleted."""

    tagged: Tagged
    owner: str
    why: Why
    created: Instant | None = None
    held: tuple[Held, ...] = ()
    entries: int | None = None
    bytes: int | None = None
    others: tuple[str, ...] = ()

    @property
    def stream_ids(self) -> tuple[str, ...]:
        if self.tagged.made is Made.TABLE:
            return () if self.tagged.stream_id is None else (self.tagged.stream_id,)
        return tuple(held.stream_id for held in self.held)


class Sorted(msgspec.Struct, frozen=True):
    """`candidates`: those that nobody claims, as far as tags say. `unreadable`: those whose owner's name is
    too long for a tag, and not one that is known. `claimed`: how many somebody has."""

    candidates: tuple[Unclaimed, ...]
    unreadable: tuple[Tagged, ...]
    claimed: int


def claim_of(stream: CaptureStream, cluster: str) -> Claim:
    meta, spec, status = stream.metadata, stream.spec, stream.status
    buckets = {bucket_name(spec, cluster, meta.namespace, meta.name)}
    if status.storage is not None and status.storage.bucket is not None:
        buckets.add(status.storage.bucket)
    has = None if status.index is None else status.index.table
    tables = {name for name in (has, spec.index.tableName) if name is not None}
    owner = f"{cluster}/{meta.namespace}/{meta.name}"
    return Claim(owner, frozenset(buckets), frozenset(tables), settled=has is not None)


def clusters_of(streams: Iterable[CaptureStream]) -> set[str]:
    """The names by which streams are owned, as their status has it: one, in a cluster that is in order."""
    owners = (stream.status.storage.owner for stream in streams if stream.status.storage is not None)
    return {owner.split("/", 1)[0] for owner in owners if owner is not None}


def sort_out(found: Sequence[Tagged], cluster: str, claims: Sequence[Claim], namespace: str | None) -> Sorted:
    """`namespace`: whose owners are asked about; None: all. The claims are those of the whole cluster, or at
    least those of that namespace."""
    by_tag = {owner_tag(claim.owner): claim for claim in claims}
    buckets = frozenset().union(*(claim.buckets for claim in claims))
    tables = frozenset().union(*(claim.tables for claim in claims))
    candidates, unreadable, claimed = list[Unclaimed](), list[Tagged](), 0
    for one in found:
        tag = one.tags.get(OWNER_TAG, "")
        claim = by_tag.get(tag)
        if one.name in (buckets if one.made is Made.BUCKET else tables) or _is_awaited(one, claim):
            claimed += 1
            continue
        owner = tag if claim is None else claim.owner
        where, _, name = owner.partition("/")
        if "/" not in owner:
            unreadable.append(one)
        elif where == cluster and namespace in (None, name.partition("/")[0]):
            candidates.append(Unclaimed(one, name, Why.GONE if claim is None else Why.ELSEWHERE))
    return Sorted(tuple(candidates), tuple(unreadable), claimed)


def with_contents(
    one: Unclaimed, held: Sequence[Held], cluster: str, claims: Sequence[Claim]
) -> Unclaimed | None:
    """A bucket and what lies in it. None where its owner is another by now, whatever its tag says."""
    living = {claim.owner for claim in claims}
    owner = f"{cluster}/{one.owner}"
    others = sorted(
        {there.owner for there in held if there.owner != owner and not _is_left(there.owner, cluster, living)}
    )
    if others and not any(there.owner == owner for there in held):
        return None
    return msgspec.structs.replace(one, held=tuple(held), others=tuple(others))


def _is_awaited(one: Tagged, claim: Claim | None) -> bool:
    """A stream that is being provisioned does not know its table's name yet."""
    return one.made is Made.TABLE and claim is not None and not claim.settled


def _is_left(owner: str, cluster: str, living: set[str]) -> bool:
    """Whether an owner is one of this cluster's that is gone as well."""
    return owner.startswith(f"{cluster}/") and owner not in living
