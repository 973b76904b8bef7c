"""`pik reindex`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from pik.api.capture_stream import CaptureStream
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, show_csv, show_json
from pik.cli.progress import progress
from pik.cli.shelf import NoSuchResource
from pik.cli.wait import NotYet
from pik.cli.wording import number
from pik.controller.objects import key_of
from pik.controller.stream_index import REINDEX
from pik.domain.errors import NoSuchTable, NotReady
from pik.domain.instants import Instant
from pik.execution.ownership import read_owner
from pik.execution.reindex import Reindexed, reindex
from pik.execution.stream import Stream
from pik.planning.storage import Names, table_differences
from pik.ports.index import GenerationState

if TYPE_CHECKING:
    from pik.cluster.console import Console


@click.command("reindex")
@click.argument("stream")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait where somebody else does it, as the operator of a cluster.",
)
@output_option
@at_a_desk
async def command(desk: Desk, stream: str, timeout: float, output: Format) -> None:
    """Rebuild a stream's index, and its table where that is gone, from raw data alone.

    Nothing is taken meanwhile: producers are answered 503. Exit code 1 where raw data that counts is missing.

    In a cluster the stream's owner does it, which is the operator: it is asked by the annotation
    pik.dev/reindex, and waited for.
    """
    resource = await desk.find(CaptureStream, stream)
    opened = await desk.open(resource)
    if desk.cluster is not None:
        generation = await _asked_for(desk, desk.cluster, resource, opened.stream, timeout)
        _show_generation(resource, generation, output)
        return
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

    before = await _generation(opened.stream)
    try:
        with progress(f"reindexing {stream}", "segments") as advance:
            done = await reindex(opened.stream, ensure_table, advance)
    except NotReady:
        # a `pik up` that found the table gone is at the same work, and two at once only set each other back
        generation = await _next_generation(desk, resource, opened.stream, before, timeout)
        _show_generation(resource, generation, output)
        return
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


async def _asked_for(
    desk: Desk, cluster: Console, resource: CaptureStream, stream: Stream, timeout: float
) -> int:
    """The generation that the operator has made. It makes one where the newest is older than the annotation:
    that is set just after the newest, by the clock of S3 and no other. Raises `NotReady` and `NotYet`."""
    key = key_of(resource)
    if resource.spec.suspend:
        raise NotReady(f"{key} is suspended: its index is rebuilt after `pik resume`")
    newest = None
    async for info in stream.objects.list(stream.layout.generations):
        newest = info
    if newest is None:
        raise NotReady(f"{key} has no index yet: the operator makes it")
    before = await _generation(stream)
    there = await cluster.find(key)
    if there is None:
        raise NoSuchResource(f"{key} has just gone")
    await cluster.annotate(there, REINDEX, Instant(newest.last_modified.micros + 1).text)
    return await _next_generation(desk, resource, stream, before, timeout)


async def _next_generation(
    desk: Desk, resource: CaptureStream, stream: Stream, before: GenerationState | None, timeout: float
) -> int:
    """The number of a generation that somebody else makes, once it is ready. Raises `NotYet`."""
    deadline = desk.clock.now().micros + timeout * 1e6
    while (state := await _generation(stream)) is None or not state.ready or state == before:
        if desk.clock.now().micros > deadline:
            key = key_of(resource)
            raise NotYet(f"{key}: begun, and not done yet; see `pik describe cst {key.name}`")
        await desk.clock.sleep(desk.shelf.pause)
    return state.number


async def _generation(stream: Stream) -> GenerationState | None:
    try:
        return await stream.index.generation()
    except NoSuchTable:
        return None


def _show_generation(resource: CaptureStream, generation: int, output: Format) -> None:
    match output:
        case Format.JSON:
            show_json({"generation": generation})
        case Format.CSV:
            show_csv(Table.of(("generation",), [(generation,)]))
        case Format.TABLE | Format.WIDE:
            layout.say(f"{key_of(resource)}: the index is of generation {generation} now.")
