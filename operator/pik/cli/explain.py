"""`pik explain`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click
import msgspec

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.wording import difference_text, duration_text, number, printable, short, shown
from pik.domain.errors import NotReady, PikError
from pik.domain.instants import Instant
from pik.execution.explain.arrivals import Candidates, check_prefix
from pik.execution.explain.event import ExplainedArrival, Explanation, Part, explain
from pik.execution.inspect.report import plain
from pik.execution.stream import Stream

_NAMED = 5
_LONG = 100  # characters of a payload that are shown on one line


class NoSuchEvent(PikError):
    """No stream that was asked holds an event whose id begins so, or several do."""


@click.command("explain")
@click.argument("event_id")
@click.argument("stream", required=False)
@output_option
@at_a_desk
async def command(desk: Desk, event_id: str, stream: str | None, output: Format) -> None:
    """All that is known of one event: its arrivals and where they lie, what it went into, and why it is it.

    EVENT_ID may be the beginning of one. Without STREAM every stream is asked, of the folder or the
    namespace.
    """
    try:
        check_prefix(event_id)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="EVENT_ID") from error
    streams = [await desk.find(CaptureStream, stream)] if stream else await desk.all(CaptureStream)
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
        case Format.TABLE | Format.WIDE:
            _page(await _names(desk), where, explanation, wide=output is Format.WIDE)


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


async def _names(desk: Desk) -> dict[str | None, str]:
    """Of versions that an AggregateVersion has."""
    return {resource.status.version: resource.metadata.name for resource in await desk.all(AggregateVersion)}


def _page(names: Mapping[str | None, str], stream: Stream, explanation: Explanation, *, wide: bool) -> None:
    layout.say(_sentence(stream, explanation))
    if explanation.event is not None:
        layout.say("")
        layout.fields(_event(explanation.arrivals[explanation.event]))
        layout.say(f"\nWhy this arrival: {explanation.reason}.")
    else:
        layout.say(f"\n{explanation.reason}.")
    arrivals = msgspec.structs.replace(_arrivals(explanation), title="Arrivals")
    print_table(arrivals, wide=wide, gather=False)
    for arrival in explanation.arrivals:
        for difference in arrival.differences:
            layout.indented(f"{arrival.part} in row {arrival.row}: {difference_text(difference)}")
    for table in (_replays(explanation), _aggregates(names, explanation)):
        if table.rows:
            print_table(table, wide=wide, gather=False)
    for use in explanation.replays:
        if use.in_doubt:
            layout.say(f"{use.job} may have sent it twice: its chunk was in doubt (see `pik ledger`).")
    for run in explanation.open_runs:
        layout.say(
            f"{run.job} began a chunk that it may be part of, which has no outcome "
            f"(run {short(run.run_id)}, shard {run.shard}, chunk {run.chunk}): it is in doubt and may "
            "have been sent."
        )


def _sentence(stream: Stream, explanation: Explanation) -> str:
    repeats = Counter(arrival.part for arrival in explanation.arrivals)
    told = [number(len(explanation.arrivals), "arrival")]
    told += [number(repeats[part], part.value) for part in (Part.DUPLICATE, Part.CONFLICT) if repeats[part]]
    where = f"{stream.namespace}/{stream.name}"
    return (
        f"Event {explanation.event_id}\nof {where}, as of {shown(explanation.as_of)}: {', '.join(told)}; it "
        f"went into {number(len(explanation.replays), 'replay')} and "
        f"{number(len(explanation.aggregates), 'aggregate')}."
    )


def _event(event: ExplainedArrival) -> list[tuple[str, str]]:
    rows = [
        ("source", event.source),
        ("type", event.event_type),
        ("entity", event.entity_id),
        ("key", event.idempotency_key or "none: known by its content"),
        ("event time", f"{shown(event.event_time)} (written {event.event_time_text!r})"),
        ("received", _after(event.received_time, event)),
        ("ingested", _after(event.ingest_time, event)),
        ("object", event.key),
        ("row", str(event.row)),
        ("sha256", event.payload_sha256),
        ("attributes", event.attributes or ""),
        ("payload", _spaced(event.payload)),
    ]
    return [(name, value if name == "payload" else printable(value)) for name, value in rows if value]


def _spaced(payload: str) -> str:
    """The producer's own text; one that is long and on one line, a field a line where it is an object."""
    if len(payload) <= _LONG or "\n" in payload:
        return "\n".join(map(printable, payload.splitlines()))
    try:
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError):
        return printable(payload)
    width = max((len(name) for name in fields), default=0)
    return "\n".join(printable(f"{name:<{width}}  {bytes(value).decode()}") for name, value in fields.items())


def _after(moment: Instant | None, event: ExplainedArrival) -> str:
    if moment is None:
        return ""
    lag = moment.to_datetime() - event.event_time.to_datetime()
    return f"{shown(moment)} ({duration_text(lag)} after it happened)"


def _replays(explanation: Explanation) -> Table:
    rows = [
        (use.job, use.result, use.at, use.attempts, use.run_id, use.target) for use in explanation.replays
    ]
    return Table.of(("job", "result", "at", "attempts", "run", "target"), rows, "Replays")


def _aggregates(names: Mapping[str | None, str], explanation: Explanation) -> Table:
    rows = [
        (names.get(use.version), use.version, use.as_of, use.bucket, use.key, use.row)
        for use in explanation.aggregates
    ]
    fields = ("name", "version", "as_of", "bucket", "key", "row")
    return Table.of(fields, rows, "Aggregates that it went into", wide=("key", "row"))


def _arrivals(explanation: Explanation) -> Table:
    fields = ("part", "outcome", "ingest_time", "key", "row", "payload_sha256", "replay_of")
    rows = [[getattr(arrival, field) for field in fields] for arrival in explanation.arrivals]
    return Table.of(fields, rows)
