"""`pik seal`"""

from __future__ import annotations

import click

from pik.cli.desk import Desk, NotInACluster, at_a_desk
from pik.cli.output import Format, Table, output_option, show_table
from pik.cli.wording import number
from pik.execution.reading.describe import SETTLE
from pik.execution.seals import seal_segments


@click.command("seal")
@click.argument("stream")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=SETTLE,
    show_default=True,
    help="Seconds that a segment is left to land; 0 where nobody writes now.",
)
@output_option
@at_a_desk
async def command(desk: Desk, stream: str, settle: float, output: Format) -> None:
    """Add the segments that are in no seal yet to the stream's chain of seals.

    In a cluster the operator does that, at intervals.
    """
    if desk.cluster is not None:
        raise NotInACluster("in a cluster the operator seals streams, at intervals: nothing is to be done")
    seals = await seal_segments(await desk.stream(stream), settle)
    fields = ("number", "sealed_at", "segments", "previous")
    rows = [(seal.number, seal.sealed_at, len(seal.segments), seal.previous) for seal in seals]
    added = sum(len(seal.segments) for seal in seals)
    sentence = (
        f"{number(added, 'segment')} sealed, in {number(len(seals), 'seal')}."
        if seals
        else "Nothing new to seal."
    )
    show_table(Table.of(fields, rows, wide=("previous",)), output, sentence)
