"""`pik runs`"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import click

from pik.api.capture_stream import CaptureStream
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, show_table
from pik.cli.wording import number
from pik.domain.errors import NotReady
from pik.execution.replay.ledger import read_progress
from pik.execution.replay.runs import read_end, read_record
from pik.execution.stream import Stream
from pik.planning.replay.records import RunRecord

_FIELDS = (
    "stream",
    "job",
    "run_key",
    "run_id",
    "state",
    "sent",
    "failed",
    "held",
    "skipped",
    "started",
    "ended",
)


@click.command("runs")
@click.argument("stream", required=False)
@output_option
@at_a_desk
async def command(desk: Desk, stream: str | None, output: Format) -> None:
    """The replays of a stream, or of all streams, that were begun: the newest last."""
    rows = []
    for where in await streams_of(desk, stream):
        async for record in run_records(where):
            end = await read_end(where, record.run_id)
            totals = end.totals if end else (await read_progress(where, record.run_id)).totals
            state = end.state.value if end else "Open"
            rows.append(
                (
                    *(f"{where.namespace}/{where.name}", f"{record.namespace}/{record.name}", record.run_key),
                    *(record.run_id, state, totals.sent, totals.failed, totals.held, totals.skipped),
                    *(record.started, end.at if end else None),
                )
            )
    rows.sort(key=lambda row: str(row[9]))
    states = Counter(row[4] for row in rows)
    told = ", ".join(f"{count:,} {state.lower()}" for state, count in sorted(states.items()))
    sentence = f"{number(len(rows), 'replay')} begun{': ' if told else ''}{told}."
    one_stream = ("stream",) if len({row[0] for row in rows}) == 1 else ()
    show_table(Table.of(_FIELDS, rows, wide=("run_key", "ended", *one_stream)), output, sentence)


async def streams_of(desk: Desk, name: str | None) -> list[Stream]:
    """The stream of this name, or all that were provisioned. Raises `NoSuchResource` and `NotReady`."""
    if name is not None:
        return [await desk.stream(name)]
    found = []
    for resource in await desk.all(CaptureStream):
        try:
            found.append((await desk.open(resource)).stream)
        except NotReady:
            continue
    return found


async def run_records(stream: Stream) -> AsyncIterator[RunRecord]:
    """Of every run that was begun, by id."""
    async for info in stream.objects.list(stream.layout.runs):
        run_id, _, name = info.key.removeprefix(stream.layout.runs).partition("/")
        if name == "run.json":
            record = await read_record(stream, run_id)
            if record is not None:
                yield record
