"""`pik explain`"""

from __future__ import annotations

import click

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import (
    Format,
    Table,
    duration_text,
    output_option,
    print_table,
    short,
    show_csv,
    show_json,
)
from pik.cli.output import shown as text_of
from pik.cli.sentences import number
from pik.domain.errors import NotReady, PikError
from pik.domain.instants import Instant
from pik.execution.explain.arrivals import Candidates, check_prefix
from pik.execution.explain.event import ExplainedArrival, Explanation, explain
from pik.execution.inspect.report import plain
from pik.execution.stream import Stream

_NAMED = 5


class NoSuchEvent(PikError):
    """No stream that was asked holds an event whose id begins so, or several do."""


@click.command("explain")
@click.argument("event_id")
@click.argument("stream", required=False)
@output_option
@at_a_desk
async def command(desk: Desk, event_id: str, stream: str | None, output: Format) -> None:
    """All that is known of one event: its arrivals and where they lie, what it went into, and why it is it.

    EVENT_ID may be the beginning of one. Without STREAM every stream of the folder is asked.
    """
    try:
        check_prefix(event_id)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="EVENT_ID") from error
    streams = [desk.find(CaptureStream, stream)] if stream else desk.all(CaptureStream)
    explained, others = await _ask(desk, streams, event_id)
    if len(explained) != 1 or others:
        raise NoSuchEvent(_which(event_id, explained, others))
    [(where, explanation)] = explained
    match output:
        case Format.JSON:
            name = f"{where.namespace}/{where.name}"
            show_json({"stream": name, **plain(explanation)})
        case Format.CSV:
            show_csv(_arrivals(explanation))
        case Format.TABLE:
            _page(desk, where, explanation)


async def _ask(
    desk: Desk, streams: list[CaptureStream], prefix: str
) -> tuple[list[tuple[Stream, Explanation]], list[Candidates]]:
    explained, several = [], []
    for resource in streams:
        try:
            stream = (await desk.open(resource)).stream
        except NotReady:
            if len(streams) == 1:
                raise
            continue  # it was never provisioned, and holds nothing
        answer = await explain(stream, prefix)
        if isinstance(answer, Explanation):
            explained.append((stream, answer))
        elif answer.matching:
            several.append(answer)
    return explained, several


def _which(prefix: str, explained: list[tuple[Stream, Explanation]], several: list[Candidates]) -> str:
    found = [answer.event_id for _, answer in explained]
    found += [candidate.event_id for candidates in several for candidate in candidates.events[:_NAMED]]
    if not found:
        return f"no event's id begins with {prefix}"
    matching = len(explained) + sum(candidates.matching for candidates in several)
    named = ", ".join(map(short, found[:_NAMED])) + ("…" if matching > _NAMED else "")
    return f"{number(matching, 'event')} with ids that begin with {prefix}: {named}"


def _page(desk: Desk, stream: Stream, explanation: Explanation) -> None:
    click.secho(f"Event {explanation.event_id}", bold=True)
    click.echo(f"in {stream.namespace}/{stream.name}, as of {text_of(explanation.as_of)}")
    if explanation.event is not None:
        _event(explanation.arrivals[explanation.event], explanation.reason)
    else:
        click.echo(f"\n{explanation.reason}.")
    table = _arrivals(explanation)
    print_table(Table(number(len(table.rows), "arrival"), table.columns, table.rows))
    for arrival in explanation.arrivals:
        for difference in arrival.differences:
            click.echo(f"  {arrival.part} in row {arrival.row}: {text_of(difference)}")
    replays = [
        (use.job, use.run_id[:12], use.target, use.result, use.at, use.attempts)
        for use in explanation.replays
    ]
    print_table(Table.of(("job", "run", "target", "result", "at", "attempts"), replays, "Replays"))
    for run in explanation.open_runs:
        click.echo(f"{run.job} (run {run.run_id[:12]}) is not over: it may send it, or have sent it.")
    names = {resource.status.version: resource.metadata.name for resource in desk.all(AggregateVersion)}
    aggregates = [
        (names.get(use.version), use.version[:12], use.as_of, text_of(use.bucket), use.key, use.row)
        for use in explanation.aggregates
    ]
    print_table(Table.of(("name", "version", "as_of", "bucket", "key", "row"), aggregates, "Aggregates"))


def _event(event: ExplainedArrival, reason: str) -> None:
    rows = [
        ("source", event.source),
        ("type", event.event_type),
        ("entity", event.entity_id),
        ("key", event.idempotency_key or "none: known by its content"),
        ("event time", f"{text_of(event.event_time)}  (written {event.event_time_text!r})"),
        ("received", _after(event.received_time, event)),
        ("ingested", _after(event.ingest_time, event)),
        ("object", event.key),
        ("row", str(event.row)),
        ("sha256", event.payload_sha256),
        ("attributes", event.attributes or ""),
        ("payload", event.payload),
    ]
    click.echo()
    for name, value in rows:
        if value:
            click.echo(f"  {name:<11} {value}")
    click.echo(f"\nWhy this arrival: {reason}.")


def _after(moment: Instant | None, event: ExplainedArrival) -> str:
    if moment is None:
        return ""
    lag = moment.to_datetime() - event.event_time.to_datetime()
    return f"{text_of(moment)}  ({duration_text(lag)} after it happened)"


def _arrivals(explanation: Explanation) -> Table:
    fields = ("part", "outcome", "ingest_time", "key", "row", "payload_sha256", "replay_of")
    rows = [[getattr(arrival, field) for field in fields] for arrival in explanation.arrivals]
    return Table.of(fields, rows)
