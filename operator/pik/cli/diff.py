"""`pik diff`"""

from __future__ import annotations

from typing import Any

import click

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.runs import streams_of
from pik.cli.shelf import NoSuchResource
from pik.cli.wording import number, share_text, short, shown
from pik.domain.errors import NotReady
from pik.execution.aggregate.differences import Change, Difference, difference, python_rows
from pik.execution.aggregate.explanations import Explanation, GroupChange, explain
from pik.execution.aggregate.records import Answer, read_answer, versions
from pik.execution.inspect.report import plain
from pik.execution.stream import Stream

_FEWEST = 4  # digits of a version that may stand for it
_SHOWN = 10


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--by",
    multiple=True,
    metavar="EXPRESSION",
    help="Tell the events apart by this, such as payload.carrier; may be given again. "
    "Default: the aggregates' own groups.",
)
@click.option("--top", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="Rows of a table.")
@output_option
@at_a_desk
async def command(desk: Desk, before: str, after: str, by: tuple[str, ...], top: int, output: Format) -> None:
    """Why a number moved: from one computed answer to another, event by event.

    A and B are AggregateVersions, by name or namespace/name, or versions by their hash or its beginning. -o
    csv has the events.
    """
    (stream, one), (other_stream, other) = await _answer(desk, before), await _answer(desk, after)
    if stream.layout.stream_id != other_stream.layout.stream_id:
        raise NoSuchResource(
            f"{before} and {after} are of two streams, {stream.name} and {other_stream.name}"
        )
    found = await difference(stream, one, other)
    events = _events(found)
    if output is Format.CSV:
        show_csv(events)
        return
    why = await explain(stream, found, by or None)
    if output is Format.JSON:
        show_json(_document(found, why, events, by))
        return
    wide = output is Format.WIDE
    for sentence in _sentences(before, after, found, why):
        layout.say(sentence)
    if found.before.version == found.after.version:
        return
    print_table(_measures(why), wide=wide, gather=False)
    if sum(step.events > 0 for step in why.steps) > 1:
        print_table(_steps(why), wide=wide, gather=False)
    for table in _by_group(why, by):
        print_table(table, wide=wide, gather=False, top=top)
    if len(found.rows) > 1:
        print_table(_rows(found), wide=wide, gather=False, top=top)
    if events.rows:
        print_table(events, wide=wide, top=top)


async def _answer(desk: Desk, text: str) -> tuple[Stream, Answer]:
    """Raises `NoSuchResource` and `NotReady`."""
    named = await desk.shelf.look(AggregateVersion, text)
    if named is not None:
        resource = named.read(AggregateVersion)
        version = resource.status.version
        if version is None:
            raise NotReady(f"AggregateVersion {text} has no answer yet: see `pik get av`")
        ref = resource.spec.streamRef
        namespace = ref.namespace or resource.metadata.namespace
        stream = (await desk.open(await desk.find(CaptureStream, f"{namespace}/{ref.name}"))).stream
        return stream, await read_answer(stream, version)
    found = []
    if len(text) >= _FEWEST:
        for stream in await streams_of(desk, None):
            found += [
                (stream, record.version)
                for record in await versions(stream)
                if record.version.startswith(text)
            ]
    if len(found) != 1:
        what = "no AggregateVersion or version" if not found else "more than one version"
        raise NoSuchResource(f"{what} is called {text}; see `pik get av`")
    [(stream, version)] = found
    return stream, await read_answer(stream, version)


def _sentences(one: str, other: str, found: Difference, why: Explanation) -> list[str]:
    one, other = shown(one), shown(other)
    sides = (
        f"From {one} (as of {shown(found.before.as_of.as_of)}, version {short(found.before.version)})",
        f"to {other} (as of {shown(found.after.as_of.as_of)}, version {short(found.after.version)}).",
    )
    if found.before.version == found.after.version:
        return [
            f"Nothing changed from {one} to {other}: they are the same version, {short(found.after.version)}."
        ]
    changes = ", ".join(
        f"{count:,} {change.value.lower()}" for change, count in found.counts.items() if count
    )
    events = number(found.events.num_rows, "event")
    told = [
        f"{number(len(found.rows), 'row')} changed, by {events}{': ' if changes else ''}{changes}.",
        " ".join(sides),
    ]
    if why.completeness is not None:
        told.append(
            f"The first knew {why.inputs_in_both:,} of the {why.inputs_after:,} events that the second has: "
            f"it was {share_text(float(why.completeness))} complete."
        )
    repeats = why.repeats
    if repeats.duplicates or repeats.conflicts:
        told.append(
            f"{number(repeats.duplicates, 'duplicate')} and {number(repeats.conflicts, 'conflict')} came in "
            "between and changed nothing."
        )
    told.append(
        "These events explain every row."
        if not why.rows_left_over
        else f"{number(why.rows_left_over, 'row')} are not explained by them."
    )
    return told


def _measures(why: Explanation) -> Table:
    """Over the whole window."""
    rows = [
        (name, _at(why.before, place), _at(why.after, place), _share(why, place))
        for place, name in enumerate(why.measures)
    ]
    return Table.of(("measure", "before", "after", "unexplained"), rows, "Measures")


def _steps(why: Explanation) -> Table:
    """How the measures move as one kind of change after the other is made."""
    rows = [
        (step.change.value, step.events, *(_at(step.values, place) for place in range(len(why.measures))))
        for step in why.steps
        if step.events
    ]
    return Table.of(("with", "events", *why.measures), rows, "Step by step")


def _groups(why: Explanation, by: tuple[str, ...]) -> Table:
    """For programs: all in one."""
    measures = [f"{which}_{name}" for name in why.measures for which in ("before", "after", "late")]
    rows = [
        (
            *(shown(part, whole=True) for part in group.group),
            *(group.counts[Change.LATE], group.inputs_before, group.inputs_after),
            *(
                _at(values, place)
                for place in range(len(why.measures))
                for values in (group.before, group.after, group.late)
            ),
        )
        for group in why.groups
    ]
    names = _group_names(why, by)
    return Table.of((*names, "late_events", "events_before", "events_after", *measures), rows, "By group")


def _by_group(why: Explanation, by: tuple[str, ...]) -> list[Table]:
    """For people: how many events, then each measure that does not just count them."""
    if not any(group.group for group in why.groups):
        return []
    names = _group_names(why, by)
    where = ", ".join(by) or "group"
    counts = [
        (*group.group, group.inputs_before, group.inputs_after, *(group.counts[change] for change in Change))
        for group in why.groups
    ]
    fields = (*names, "before", "after", *(change.value.lower() for change in Change))
    tables = [Table.of(fields, counts, f"Events by {where}")]
    for place, measure in enumerate(why.measures):
        rows = [
            (*group.group, *(_at(values, place) for values in (group.before, group.after, group.late)))
            for group in why.groups
        ]
        if any(
            row[len(names) :] != _event_counts(group) for row, group in zip(rows, why.groups, strict=True)
        ):
            fields = (*names, "before", "after", "late events alone")
            tables.append(Table.of(fields, rows, f"{measure} by {where}"))
    return tables


def _group_names(why: Explanation, by: tuple[str, ...]) -> tuple[str, ...]:
    return by or tuple(f"group_{place}" for place in range(len(why.groups[0].group) if why.groups else 0))


def _event_counts(group: GroupChange) -> tuple[int | None, ...]:
    """What a measure that counts events gives."""
    counts = (group.inputs_before, group.inputs_after, group.counts[Change.LATE])
    return tuple(count or None for count in counts)


def _rows(found: Difference) -> Table:
    definition = found.before.record.definition
    groups = [f"group_{place}" for place in range(len(definition.group_by))]
    measures = [measure.name for measure in definition.measures]
    rows = [
        (
            row.bucket,
            *row.groups,
            *_pairs(row.before, row.after, len(measures)),
        )
        for row in found.rows
    ]
    names = [f"{which}_{name}" for name in measures for which in ("before", "after")]
    return Table.of(("bucket", *groups, *names), rows, "Rows changed")


def _events(found: Difference) -> Table:
    """The events that are not the same in both, each where it lies."""
    fields = ("event_id", "change", "event_time", "segment", "row", "ingest_time", "received_time")
    names = found.events.column_names
    rows = []
    for values in python_rows(found.events):
        cells = dict(zip(names, values, strict=True))
        side = "before" if cells["change"] == Change.MISSING else "after"
        there = [cells.get(f"{side}_{field}") for field in fields[3:]]
        rows.append((cells["event_id"], str(cells["change"]).lower(), cells["event_time"], *there))
    wide = ("segment", "row", "ingest_time")
    return Table.of(("event_id", "class", *fields[2:]), rows, "Events", wide=wide)


def _document(found: Difference, why: Explanation, events: Table, by: tuple[str, ...]) -> dict[str, Any]:
    return {
        "before": _side(found.before),
        "after": _side(found.after),
        "counts": {change.value.lower(): found.counts[change] for change in Change},
        "repeats": plain(why.repeats),
        "completeness": None if why.completeness is None else float(why.completeness),
        "rows_left_over": why.rows_left_over,
        "measures": _measures(why).documents(),
        "steps": _steps(why).documents(),
        "groups": _groups(why, by).documents(),
        "rows": _rows(found).documents(),
        "events": events.documents(),
    }


def _side(answer: Answer) -> dict[str, Any]:
    return {
        "version": answer.version,
        "as_of": answer.as_of.as_of,
        "known_by": answer.as_of.known_by.value,
        "inputs": answer.record.input_count,
    }


def _pairs(before: tuple[Any, ...] | None, after: tuple[Any, ...] | None, count: int) -> list[Any]:
    return [cell for place in range(count) for cell in (_at(before, place), _at(after, place))]


def _at(values: tuple[Any, ...] | None, place: int) -> Any:
    return None if not values else values[place]


def _share(why: Explanation, place: int) -> float | None:
    share = why.unexplained(place)
    return None if share is None else float(share)
