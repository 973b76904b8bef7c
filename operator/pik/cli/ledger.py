"""`pik ledger`"""

from __future__ import annotations

import click
import msgspec

from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.runs import run_records, streams_of
from pik.cli.shelf import NoSuchResource
from pik.cli.wording import number, short, shown
from pik.domain.errors import Tampered
from pik.execution.inspect.report import plain
from pik.execution.replay.ledger import read_ledger
from pik.execution.replay.runs import read_end, read_plan, run_keys
from pik.execution.stream import Stream
from pik.planning.replay.ledger import Reconciler, Reconciliation
from pik.planning.replay.records import ChunkHead, End, Intent, LedgerEntry, RunRecord

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
_WIDE = ("position", "key")
_FEWEST = 4  # digits of a run id that may stand for it
_SHOWN = 10


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
    unknown = await open_chunks(stream, record.run_id)
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
                    "unknown": _unknown(unknown).documents(),
                    "events": table.documents(),
                }
            )
        case Format.CSV:
            show_csv(Table.of(_FIELDS, rows))
        case Format.TABLE | Format.WIDE:
            _page(record, end, found, sum(intent.count for _, intent in unknown))
            wide = output is Format.WIDE
            if doubtful:
                chunks = [list(chunk.values()) for chunk in doubtful]
                print_table(Table.of(tuple(doubtful[0]), chunks, "Chunks in doubt"), wide=wide, gather=False)
            if unknown:
                print_table(_unknown(unknown), wide=wide, gather=False)
            if rows:
                print_table(Table.of(_FIELDS, rows, "Events", wide=_WIDE), wide=wide, top=top)
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


async def open_chunks(stream: Stream, run_id: str) -> list[tuple[int, Intent]]:
    """Chunks that were begun and have no outcome, by shard and chunk: nobody knows how much of them was
    sent."""
    root = f"{run_keys(stream, run_id).root}shards/"
    begun: dict[str, str] = {}
    async for info in stream.objects.list(root):
        place, _, name = info.key.removeprefix(root).partition(".")
        if name == "intent.json":
            begun[place] = info.key
        elif name == "outcome.ndjson":
            begun.pop(place, None)
    found = []
    for place, key in begun.items():
        intent = msgspec.json.decode((await stream.objects.read(key)).body, type=Intent)
        found.append((int(place.partition("/")[0]), intent))
    return found


def _page(record: RunRecord, end: End | None, found: Reconciliation, unknown: int) -> None:
    job = f"{record.namespace}/{record.name}"
    begun = f"Run {short(record.run_id)} of {job}, begun {shown(record.started)}"
    over = "not over"
    if end:
        why = "" if end.reason.value == end.state.value else f" ({end.reason})"
        over = f"{end.state.lower()} at {shown(end.at)}{why}"
    layout.say(f"{begun}: {over}.")
    parts = {"sent": found.sent, "failed": found.failed, "held": found.held, "skipped": found.skipped}
    told = [f"{count:,} {name}" for name, count in parts.items() if count]
    if found.unsent:
        told.append(f"{found.unsent:,} without an outcome")
    whole = "every event is accounted for" if found.whole else "not every event is accounted for"
    layout.say(f"{number(found.matched, 'event')} planned = {' + '.join(told) or 'none'}: {whole}.")
    for problem in (*(f"twice in the ledger: {key}" for key in found.twice), *found.gaps):
        layout.say(f"broken: {problem}")
    if unknown:
        layout.say(f"{number(unknown, 'event')} without an outcome: in doubt, and may have been sent.")
    if found.doubted:
        layout.say(f"{number(found.doubted, 'event')} may have been sent twice; {_help(found)}.")
    if found.retried:
        layout.say(f"{number(found.retried, 'event')} took more than one attempt.")


def _help(found: Reconciliation) -> str:
    if not found.undropped:
        return "the target itself drops such repeats"
    which = "all" if found.undropped == found.doubted else f"{found.undropped:,} of them"
    return f"with {which} it is up to the receiver to tell, by their keys"


def _unknown(chunks: list[tuple[int, Intent]]) -> Table:
    rows = [(shard, one.chunk, one.start, one.count, one.at, one.holder) for shard, one in chunks]
    fields = ("shard", "chunk", "start", "events", "begun", "by")
    return Table.of(fields, rows, "Begun, and in doubt: may have been sent", wide=("by",))


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
