"""`pik ledger`"""

from __future__ import annotations

import click

from pik.cli.desk import Desk, NoSuchResource, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.runs import run_records, streams_of
from pik.cli.sentences import number
from pik.domain.errors import Tampered
from pik.execution.inspect.report import plain
from pik.execution.replay.ledger import read_ledger
from pik.execution.replay.runs import read_end, read_plan
from pik.execution.stream import Stream
from pik.planning.replay.ledger import Reconciler, Reconciliation
from pik.planning.replay.records import ChunkHead, End, LedgerEntry, RunRecord

_FIELDS = (
    "shard",
    "chunk",
    "position",
    "event_id",
    "entity_id",
    "result",
    "attempts",
    "key",
    "answer",
    "reason",
)
_FEWEST = 4  # digits of a run id that may stand for it
_SHOWN = 20


@click.command("ledger")
@click.argument("run")
@click.option(
    "--top", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="Events shown in a table."
)
@output_option
@at_a_desk
async def command(desk: Desk, run: str, top: int, output: Format) -> None:
    """What a replay did with each event, and whether that accounts for its whole plan.

    RUN is a run's id or its beginning, or the name of a ReplayJob: its last run. Exit code 1 where the run is
    over and its ledger does not account for every event.
    """
    stream, record = await _find(desk, run)
    plan = await read_plan(stream, record.run_id, record.plan_hash)
    if plan is None:
        raise Tampered(f"the plan {record.plan_hash} of run {record.run_id} is gone")
    reconciler, doubtful, rows = Reconciler(), [], []
    async for head, entries in read_ledger(stream, record.run_id):
        reconciler.add(head, entries)
        if head.in_doubt:
            doubtful.append(_doubt(head))
        rows += [_row(head, entry) for entry in entries]
    found = reconciler.against(plan.measure.matched)
    end = await read_end(stream, record.run_id)
    match output:
        case Format.JSON:
            table = Table.of(_FIELDS, rows)
            show_json(
                {
                    "run": plain(record),
                    "end": None if end is None else {"state": end.state, "reason": end.reason, "at": end.at},
                    "reconciliation": {**plain(found), "whole": found.whole},
                    "doubtful": doubtful,
                    "events": table.documents(),
                }
            )
        case Format.CSV:
            show_csv(Table.of(_FIELDS, rows))
        case Format.TABLE:
            _page(record, end, found)
            if doubtful:
                columns = tuple(doubtful[0])
                print_table(
                    Table.of(columns, [list(chunk.values()) for chunk in doubtful], "Chunks in doubt")
                )
            shown = [(*row[:3], row[3][:16], *row[4:]) for row in rows[:top]]
            print_table(Table.of(_FIELDS, shown, "Events"))
            if len(rows) > top:
                click.echo(f"… and {len(rows) - top:,} more: -o csv has them all")
    if end is not None and not found.whole:
        click.get_current_context().exit(1)


async def _find(desk: Desk, text: str) -> tuple[Stream, RunRecord]:
    """Raises `NoSuchResource`."""
    found = []
    for stream in await streams_of(desk, None):
        async for record in run_records(stream):
            names = (record.name, f"{record.namespace}/{record.name}")
            by_id = len(text) >= _FEWEST and record.run_id.startswith(text)
            if by_id or text in names:
                found.append((stream, record))
    if not found:
        raise NoSuchResource(f"no run {text} was begun, nor one of a ReplayJob of this name; see `pik runs`")
    if len({(record.namespace, record.name) for _, record in found}) > 1:
        ids = ", ".join(record.run_id[:12] for _, record in found)
        raise NoSuchResource(f"several runs are meant by {text}: {ids}")
    return max(found, key=lambda one: one[1].started)


def _page(record: RunRecord, end: End | None, found: Reconciliation) -> None:
    over = f"{end.state} at {end.at} ({end.reason})" if end else "not over"
    click.echo(f"Run {record.run_id} of {record.namespace}/{record.name}, begun {record.started}: {over}.")
    click.echo(
        f"Planned {found.matched:,} = sent {found.sent:,} + failed {found.failed:,} + held {found.held:,} "
        f"+ skipped {found.skipped:,} + unsent {found.unsent:,}: "
        + ("every event is accounted for." if found.whole else "not every event is accounted for.")
    )
    for problem in (*(f"twice in the ledger: {key}" for key in found.twice), *found.gaps):
        click.echo(f"broken: {problem}")
    if found.doubted:
        click.echo(
            f"{number(found.doubted, 'event')} may have been sent twice; with {found.undropped:,} of "
            "them the target's own deduplication could not be relied on."
        )
    if found.retried:
        click.echo(f"{number(found.retried, 'event')} took more than one attempt.")


def _doubt(head: ChunkHead) -> dict[str, object]:
    repeats = None if head.repeats is None else head.repeats.value
    return {
        "shard": head.shard,
        "chunk": head.chunk,
        "start": head.start,
        "events": head.count,
        "repeats": repeats,
    }


def _row(head: ChunkHead, entry: LedgerEntry) -> tuple[int, int, int, str, str, str, int, str, str, str]:
    return (
        *(head.shard, head.chunk, entry.position, entry.event_id, entry.entity_id, entry.result.value),
        *(entry.attempts, entry.key, entry.answer, entry.reason),
    )
