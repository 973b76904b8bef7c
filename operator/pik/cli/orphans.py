"""`pik orphans`"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import click

from pik.api.capture_stream import CaptureStream
from pik.api.storage import Storage
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.resources import age
from pik.cli.wording import number
from pik.controller.stream_storage import TAKE_OVER_FROM
from pik.domain.errors import PikError
from pik.execution.unclaimed import Region, Search, search
from pik.planning.unclaimed import Made, Unclaimed, Why, claim_of, clusters_of
from pik.ports.inventory import Inventory

_SHOWN = 10
_PEOPLE = ("kind", "name", "owner", "stream", "created", "holds", "why", "region", "bytes")
_WIDE = ("region", "bytes")
_PROGRAMS = (
    *("kind", "name", "region", "owner", "why", "created", "entries", "bytes"),
    *("streams", "prefixes", "others"),
)
_WHY = {Why.GONE: "its CaptureStream is gone", Why.ELSEWHERE: "its CaptureStream has another one"}


class WhichCluster(PikError):
    """Nothing says by which name the cluster owns what it made."""


@click.command("orphans")
@click.option(
    "--cluster",
    envvar="PIK_CLUSTER",
    show_envvar=True,
    metavar="NAME",
    help="The cluster's name in owner records. Default: as the streams' status has it.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="An AWS region to look at as well; may be given again. Default: that of the AWS configuration, and "
    "those that CaptureStreams name.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="Owners told about."
)
@output_option
@at_a_desk
async def command(
    desk: Desk, cluster: str | None, regions: tuple[str, ...], top: int, output: Format
) -> None:
    """Buckets and tables that pik made and that no CaptureStream has any more, and what to do with each.

    They are kept by deletionPolicy Retain, or were left where a deletion was given up. Nothing is changed. In
    a cluster all namespaces are asked about, or the one that -n names.
    """
    census = await desk.shelf.census()
    streams = [item.read(CaptureStream) for item in census.streams]
    name = _cluster(cluster or census.cluster, streams)
    claims = [claim_of(stream, name) for stream in streams]
    named = {stream.spec.storage.region for stream in streams} - {None}
    searched: dict[str, Search] = {}
    for region in (None, *sorted({*regions, *filter(None, named)})):
        inventory = _inventory(desk, region)
        if inventory.region not in searched:
            searched[inventory.region] = await search(
                _region(desk, region, inventory), name, claims, census.namespace
            )
    found = [one for searching in searched.values() for one in searching.unclaimed]
    found.sort(key=lambda one: (one.owner, one.tagged.made, one.tagged.name))
    match output:
        case Format.JSON:
            show_json(_document(desk.endpoint, name, census.namespace, searched, found))
        case Format.CSV:
            show_csv(_for_programs(found))
        case Format.TABLE | Format.WIDE:
            layout.say(_sentence(name, census.namespace, searched, found))
            if found:
                print_table(_for_people(desk, found), wide=output is Format.WIDE, gather=False)
            _advise(desk, name, found, top)
            _tell_unreadable(searched)


def _cluster(named: str | None, streams: Sequence[CaptureStream]) -> str:
    known = {named} if named is not None else clusters_of(streams)
    if len(known) == 1:
        return known.pop()
    told = f"streams are owned as {' and as '.join(sorted(known))}" if known else "no CaptureStream says it"
    raise WhichCluster(f"by which name does this cluster own what it made? {told}: give --cluster")


def _inventory(desk: Desk, region: str | None) -> Inventory:
    if desk.inventory is None:
        raise LookupError("a desk without AWS")
    return desk.inventory(region)


def _region(desk: Desk, region: str | None, inventory: Inventory) -> Region:
    storage = Storage(prefix="any", region=region)  # of which only the region counts for reading
    return Region(inventory, lambda bucket: desk.cloud.objects(bucket, storage))


def _sentence(
    cluster: str, namespace: str | None, searched: dict[str, Search], found: Sequence[Unclaimed]
) -> str:
    where = f"cluster {cluster}" if namespace is None else f"namespace {namespace} of cluster {cluster}"
    told = f"of {where} in {', '.join(searched)}"
    used = f"{number(_in_use(searched), 'bucket or table', 'buckets and tables')} in use"
    if not found:
        return f"No orphans {told}; {used}."
    kinds = [number(sum(one.tagged.made is made for one in found), made.value.lower()) for made in Made]
    return f"{' and '.join(kinds)} {told} that no CaptureStream has any more; {used}."


def _for_people(desk: Desk, found: Sequence[Unclaimed]) -> Table:
    now = desk.clock.now()
    rows = [
        (
            *(one.tagged.made.value, one.tagged.name, one.owner, " ".join(one.stream_ids) or None),
            *(None if one.created is None else age(one.created, now), _holds(one), _WHY[one.why]),
            *(one.tagged.region, one.bytes),
        )
        for one in found
    ]
    return Table.of(_PEOPLE, rows, "Orphans", wide=_WIDE)


def _for_programs(found: Sequence[Unclaimed]) -> Table:
    rows = [
        (
            *(one.tagged.made.value, one.tagged.name, one.tagged.region, one.owner, one.why.value),
            *(one.created, one.entries, one.bytes),
            *(list(one.stream_ids), [held.prefix for held in one.held], list(one.others)),
        )
        for one in found
    ]
    return Table.of(_PROGRAMS, rows)


def _holds(one: Unclaimed) -> str | None:
    if one.entries is not None:
        return f"about {number(one.entries, 'entry', 'entries')}"
    return ", ".join(held.prefix for held in one.held) or None


def _advise(desk: Desk, cluster: str, found: Sequence[Unclaimed], top: int) -> None:
    owners = sorted({one.owner for one in found})
    for owner in owners[:top]:
        theirs = [one for one in found if one.owner == owner]
        layout.title(owner)
        layout.say(_to_have_it_again(owner, cluster, theirs, in_cluster=desk.cluster is not None))
        commands = [line for one in theirs for line in deletion(one, desk.endpoint)]
        if commands:
            layout.say("To delete it for good, with all that it holds:")
        for line in commands:
            click.echo(f"  {line}")  # to be copied: never broken
        for one in theirs:
            if one.others:
                layout.say(f"The bucket {one.tagged.name} stays: {', '.join(one.others)} has data in it.")
    if len(owners) > top:
        layout.say(f"\n… and {number(len(owners) - top, 'more owner')} (--top)")


def _to_have_it_again(owner: str, cluster: str, theirs: Sequence[Unclaimed], *, in_cluster: bool) -> str:
    namespace, _, name = owner.partition("/")
    held = [there for one in theirs for there in one.held if there.owner == f"{cluster}/{owner}"]
    was = "".join(f", storage.prefix {there.prefix.rstrip('/')}" for there in held)
    if all(one.why is Why.GONE for one in theirs):
        how = f"kubectl apply -n {namespace} -f FILE" if in_cluster else "its file goes back into the folder"
        return f"To have it again, apply CaptureStream {name} as it was{was}: {how}"
    buckets = [one.tagged.name for one in theirs if one.tagged.made is Made.BUCKET]
    if not buckets:
        return f"CaptureStream {owner} has another table, which is rebuilt from raw data."
    return (
        f"CaptureStream {owner} has another bucket. To have this one again, apply a CaptureStream of another "
        f"name in namespace {namespace} with storage.bucket.name {buckets[0]}{was} and the "
        f"annotation {TAKE_OVER_FROM}: {cluster}/{owner}"
    )


def deletion(one: Unclaimed, endpoint: str | None) -> list[str]:
    """Command lines that delete it; none for a bucket in which somebody else has data."""
    name, region = one.tagged.name, one.tagged.region
    if one.tagged.made is Made.TABLE:
        where = f" --endpoint-url {shlex.quote(endpoint)}" if endpoint else ""
        aws = f"aws dynamodb --region {shlex.quote(region)}{where}"
        return [
            f"{aws} update-table --table-name {shlex.quote(name)} --no-deletion-protection-enabled",
            f"{aws} delete-table --table-name {shlex.quote(name)}",
        ]
    if one.others:
        return []
    where = f", endpoint_url={json.dumps(endpoint)}" if endpoint else ""
    code = (
        f'import boto3; bucket = boto3.resource("s3", {json.dumps(region)}{where})'
        f".Bucket({json.dumps(name)}); bucket.object_versions.delete(); bucket.delete()"
    )
    return [f"python3 -c {shlex.quote(code)}"]


def _tell_unreadable(searched: dict[str, Search]) -> None:
    names = [
        f"{one.made.value.lower()} {one.name}" for search in searched.values() for one in search.unreadable
    ]
    if names:
        layout.say(f"\nThe owner's name is too long for a tag, look by hand: {', '.join(names)}")


def _document(
    endpoint: str | None,
    cluster: str,
    namespace: str | None,
    searched: dict[str, Search],
    found: Sequence[Unclaimed],
) -> dict[str, Any]:
    rows = _for_programs(found).documents()
    return {
        "cluster": cluster,
        "namespace": namespace,
        "regions": list(searched),
        "in_use": _in_use(searched),
        "orphans": [{**row, "delete": deletion(one, endpoint)} for row, one in zip(rows, found, strict=True)],
        "unreadable": [
            {"kind": one.made.value, "name": one.name, "region": one.region}
            for searching in searched.values()
            for one in searching.unreadable
        ],
    }


def _in_use(searched: dict[str, Search]) -> int:
    return sum(searching.claimed for searching in searched.values())
