"""`pik reindex`"""

from __future__ import annotations

import click
import msgspec

from pik.api.capture_stream import CaptureStream
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, show_csv, show_json
from pik.cli.progress import progress
from pik.cli.wording import number
from pik.domain.errors import NotReady
from pik.execution.ownership import read_owner
from pik.execution.reindex import Reindexed, reindex
from pik.planning.storage import Names, table_differences


@click.command("reindex")
@click.argument("stream")
@output_option
@at_a_desk
async def command(desk: Desk, stream: str, output: Format) -> None:
    """Rebuild a stream's index, and its table where that is gone, from raw data alone.

    Nothing is taken meanwhile: producers are answered 503. Exit code 1 where raw data that counts is missing.
    """
    resource = desk.find(CaptureStream, stream)
    opened = await desk.open(resource)
    spec, place = resource.spec, opened.place
    owner = await read_owner(opened.stream.objects, opened.stream.layout.prefix)
    if owner is None:
        raise NotReady(f"the bucket {place.bucket} has no owner record of this stream")
    claimant = owner.claimant
    names = Names(
        claimant.cluster, claimant.namespace, claimant.name, place.bucket, opened.stream.layout.prefix
    )
    provisioner = desk.cloud.provisioner(spec.storage.region)

    async def ensure_table() -> None:
        there = await provisioner.table(place.table)
        for difference in table_differences(spec, names, place.table, place.stream_id, there):
            if difference.action is not None:
                await provisioner.apply(difference.action)

    with progress(f"reindexing {stream}", "segments") as advance:
        done = await reindex(opened.stream, ensure_table, advance)
    match output:
        case Format.JSON:
            show_json(msgspec.to_builtins(done))
        case Format.CSV:
            show_csv(Table.of(("missing",), [(key,) for key in done.missing]))
        case Format.TABLE | Format.WIDE:
            layout.say(
                f"{_found(done)} of "
                f"{number(done.segments, 'segment')}: the index is of generation {done.generation} now."
            )
            for key in done.missing:
                layout.say(f"missing: {key}")
    if done.missing:
        click.get_current_context().exit(1)


def _found(done: Reindexed) -> str:
    """Where a stream decides what is an event when it is read, each arrival may be one."""
    arrivals = number(done.arrivals, "arrival")
    return arrivals if done.events == done.arrivals else f"{number(done.events, 'event')} ({arrivals})"
