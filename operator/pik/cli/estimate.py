"""`pik estimate`"""

from __future__ import annotations

import click

from pik.api.replay_job import ReplayJob
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, show_table
from pik.cli.wording import number
from pik.execution.replay.estimating import estimate
from pik.planning.replay.spec import replay_spec

_FIELDS = ("least", "most", "segments", "bytes")


@click.command("estimate")
@click.argument("replayjob")
@output_option
@at_a_desk
async def command(desk: Desk, replayjob: str, output: Format) -> None:
    """How many events REPLAYJOB can have, by the manifest alone.

    It takes as long for few events as for many, and reads none of them: the dry run counts them exactly.
    """
    job = await desk.find(ReplayJob, replayjob)
    spec = replay_spec(job.spec, job.metadata.namespace)
    found = await estimate(await desk.stream(spec.stream), spec)
    sentence = (
        f"Between {found.least:,} and {number(found.most, 'event')}, in {number(found.segments, 'segment')}"
        f" of {number(found.scanned_bytes, 'byte')} together."
    )
    row = (found.least, found.most, found.segments, found.scanned_bytes)
    show_table(Table.of(_FIELDS, [row]), output, sentence)
