"""`pik inspect …`: what is odd about what arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

import click

from pik.api.aggregate_version import KnownBy
from pik.api.capture_stream import CadenceKey, CaptureStream, Expect
from pik.api.common import seconds_of
from pik.api.replay_job import TimeField
from pik.cli.desk import Desk, at_a_desk
from pik.cli.findings import show_findings
from pik.cli.output import PEOPLE, Format, Table, output_option, show_csv, show_json
from pik.cli.parameters import DURATION, INSTANT, OneOf, window_of
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.conflicts import ConflictOptions, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, duplicates
from pik.execution.inspect.gaps import GapOptions, PayloadPath, gaps
from pik.execution.inspect.late import LateOptions, late
from pik.execution.inspect.order import OrderOptions, order
from pik.execution.inspect.report import Report
from pik.execution.inspect.skew import SkewOptions, skew
from pik.execution.inspect.terms import LIMIT
from pik.execution.reading.snapshot import Snapshot, take_snapshot
from pik.execution.stream import Stream

Inspect = Callable[[Stream, Snapshot, Window | None], Awaitable[Report]]


@dataclass(frozen=True, slots=True)
class Question:
    """What every inspection is asked."""

    window: Window | None
    field: TimeField
    as_of: Instant | None
    limit: int
    section: str | None
    output: Format


_SHOWN = 10  # rows of a list, for people
_EXPECTATION = Expect.model_construct(every=None, by=CadenceKey.ENTITY, lateAfter=None)


@click.group("inspect")
def command() -> None:
    """What is odd about what arrived: late, missing, repeated, contradictory, disordered, or at odd times.

    Windows are half-open: what is at --from belongs to one, what is at --to does not.
    """


def _inspection(work: Callable[..., None]) -> Callable[..., None]:
    """The options that every inspection has, passed as `question`."""

    @wraps(work)
    def asked(start: Instant | None, end: Instant | None, **given: Any) -> None:
        told = {name: given.pop(name) for name in ("field", "as_of", "section", "output")}
        limit = given.pop("limit") or (_SHOWN if told["output"] in PEOPLE else LIMIT)
        work(question=Question(window_of(start, end), limit=limit, **told), **given)

    command: Callable[..., None] = asked
    for option in reversed(
        (
            click.argument("stream"),
            click.option("--from", "start", type=INSTANT, metavar="RFC3339", help="From when on, inclusive."),
            click.option("--to", "end", type=INSTANT, metavar="RFC3339", help="Until when, exclusive."),
            click.option(
                "--field",
                type=OneOf(TimeField),
                default=TimeField.EVENT_TIME,
                show_default="EventTime",
                help="The time that --from and --to are about.",
            ),
            click.option(
                "--as-of", type=INSTANT, metavar="RFC3339", help="As it was known then. Default: now."
            ),
            click.option(
                "--top",
                "limit",
                type=click.IntRange(min=1),
                show_default=f"{_SHOWN} in a table, else {LIMIT}",
                help="Rows of a list; the summary counts all.",
            ),
            click.option("--section", metavar="NAME", help="Only this table, such as runs. csv: first."),
            output_option,
        )
    ):
        command = option(command)
    return command


_known_by = click.option(
    "--known-by",
    type=OneOf(KnownBy),
    default=KnownBy.INGEST_TIME,
    show_default="IngestTime",
    help="Whose clock says when an event became known: pik's, or the source's own (ReceivedTime).",
)


@command.command("late")
@_inspection
@_known_by
@click.option("--late-after", type=DURATION, help="Default: the stream's spec.expect.lateAfter.")
@at_a_desk
async def late_command(
    desk: Desk, stream: str, late_after: timedelta | None, known_by: KnownBy, question: Question
) -> None:
    """Events that became known long after they happened."""
    resource = await desk.find(CaptureStream, stream)
    after = _duration(_expected(resource).lateAfter) if late_after is None else late_after
    if after is None:
        raise click.UsageError("give --late-after: the stream's spec.expect.lateAfter does not say")
    options = LateOptions(after, known_by=known_by, field=question.field, limit=question.limit)
    await _inspect(
        desk, resource, lambda stream, snapshot, window: late(stream, snapshot, window, options), question
    )


@command.command("gaps")
@_inspection
@click.option("--every", type=DURATION, help="Cadence. Default: the stream's spec.expect.every.")
@click.option(
    "--by",
    metavar="KEY",
    help="What has the cadence: Entity, Source, EventType, Stream, or payload.PATH. "
    "Default: the stream's spec.expect.by.",
)
@at_a_desk
async def gaps_command(
    desk: Desk, stream: str, every: timedelta | None, by: str | None, question: Question
) -> None:
    """Spans without an event where one was expected, and what fell silent at the end."""
    resource = await desk.find(CaptureStream, stream)
    expected = _expected(resource)
    cadence = _duration(expected.every) if every is None else every
    if cadence is None:
        raise click.UsageError("give --every: the stream's spec.expect.every does not say")
    if cadence <= timedelta():
        raise click.UsageError("--every is longer than nothing")
    key = expected.by if by is None else _cadence_key(by)
    options = GapOptions(cadence, by=key, field=question.field, limit=question.limit)
    await _inspect(
        desk, resource, lambda stream, snapshot, window: gaps(stream, snapshot, window, options), question
    )


@command.command("duplicates")
@_inspection
@at_a_desk
async def duplicates_command(desk: Desk, stream: str, question: Question) -> None:
    """Arrivals of events that were known, with the same content."""
    options = DuplicateOptions(field=question.field, limit=question.limit)
    resource = await desk.find(CaptureStream, stream)
    await _inspect(
        desk,
        resource,
        lambda stream, snapshot, window: duplicates(stream, snapshot, window, options),
        question,
    )


@command.command("conflicts")
@_inspection
@at_a_desk
async def conflicts_command(desk: Desk, stream: str, question: Question) -> None:
    """Arrivals of events that were known, with another content; and where they differ."""
    options = ConflictOptions(field=question.field, limit=question.limit)
    resource = await desk.find(CaptureStream, stream)
    await _inspect(
        desk,
        resource,
        lambda stream, snapshot, window: conflicts(stream, snapshot, window, options),
        question,
    )


@command.command("order")
@_inspection
@_known_by
@at_a_desk
async def order_command(desk: Desk, stream: str, known_by: KnownBy, question: Question) -> None:
    """Events that came after later events of their entity."""
    options = OrderOptions(known_by=known_by, field=question.field, limit=question.limit)
    resource = await desk.find(CaptureStream, stream)
    await _inspect(
        desk, resource, lambda stream, snapshot, window: order(stream, snapshot, window, options), question
    )


@command.command("skew")
@_inspection
@_known_by
@click.option(
    "--tolerance", type=DURATION, default="1s", show_default=True, help="That two honest clocks differ by."
)
@at_a_desk
async def skew_command(
    desk: Desk, stream: str, known_by: KnownBy, tolerance: timedelta, question: Question
) -> None:
    """Event times ahead of the clock, and such as are plainly not real."""
    options = SkewOptions(known_by=known_by, tolerance=tolerance, field=question.field, limit=question.limit)
    resource = await desk.find(CaptureStream, stream)
    await _inspect(
        desk, resource, lambda stream, snapshot, window: skew(stream, snapshot, window, options), question
    )


async def _inspect(
    desk: Desk,
    resource: CaptureStream,
    inspect: Inspect,
    question: Question,
) -> None:
    stream = (await desk.open(resource)).stream
    snapshot = await take_snapshot(stream, question.as_of, now=desk.clock.now())
    report = await inspect(stream, snapshot, question.window)
    show_report(report, question.output, question.section)


def show_report(report: Report, output: Format, only: str | None = None) -> None:
    """A sentence and tables; in JSON summary and sections; in CSV one section."""
    sections = {section.field: section for section in report.sections()}
    if only is not None and only not in sections:
        raise click.UsageError(f"--section is one of {', '.join(sections)}, not {only!r}")
    chosen = [sections[only]] if only else list(sections.values())
    match output:
        case Format.JSON:
            document = report.document()
            shown = {one.field: document[one.field] for one in chosen}
            show_json({"summary": document["summary"], "sections": shown})
        case Format.CSV:
            show_csv(Table.section(chosen[0], report.section(chosen[0])))
        case Format.TABLE | Format.WIDE:
            show_findings(report, only, wide=output is Format.WIDE)


def _expected(resource: CaptureStream) -> Expect:
    return resource.spec.expect or _EXPECTATION


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else timedelta(seconds=seconds_of(text))


def _cadence_key(text: str) -> CadenceKey | PayloadPath:
    if text.startswith("payload.") and len(text) > len("payload."):
        return PayloadPath(text.removeprefix("payload."))
    for key in CadenceKey:
        if key.value.lower() == text.lower():
            return key
    raise click.UsageError(f"--by is {', '.join(CadenceKey)} or payload.PATH, not {text!r}")
