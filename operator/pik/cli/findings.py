"""What an inspection found, as people read it: the most useful first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pik.cli import layout
from pik.cli.output import Table, print_table
from pik.cli.sentences import sentence
from pik.cli.wording import difference_text, printable, shown
from pik.execution.inspect.conflicts import Conflict, ConflictReport
from pik.execution.inspect.duplicates import DuplicateReport
from pik.execution.inspect.gaps import GapReport
from pik.execution.inspect.late import LateReport
from pik.execution.inspect.order import OrderReport
from pik.execution.inspect.report import Report, Section
from pik.execution.inspect.skew import SkewReport


class Part(NamedTuple):
    """A section of a report. `found`: the field of the summary that counts all of its rows, of which a report
    has the first."""

    field: str
    title: str
    found: str | None = None
    wide: tuple[str, ...] = ()


_PARTS: dict[type[Report], tuple[Part, ...]] = {
    LateReport: (
        Part("groups", "By source and type", wide=("p90",)),
        Part("latest", "The latest events", "late"),
    ),
    GapReport: (
        Part("incidents", "Incidents: several keys missing at the same time", "incidents_found"),
        Part("keys", "By key", wide=("first", "last")),
        Part("silences", "Silent at the end", "silent_keys"),
        Part("runs", "The longest runs", "runs_found"),
    ),
    DuplicateReport: (
        Part("sources", "By source"),
        Part("storms", "Storms of repeats, by ingest time", "storms_found"),
        Part("events", "The most repeated events", "events_repeated"),
    ),
    ConflictReport: (
        Part("conflicts", "Conflicts", "conflicts_found"),
        Part("paths", "Where they differ"),
        Part("sources", "By source"),
    ),
    OrderReport: (
        Part("sources", "By source"),
        Part("entities", "The most disordered entities", "entities_affected"),
        Part("worst", "The furthest behind", "disordered"),
    ),
    SkewReport: (
        Part("sources", "By source"),
        Part("examples", "The first of them", "odd"),
    ),
}


def show_findings(report: Report, only: str | None, *, wide: bool) -> None:
    """Sentences, then sections that have rows, or `only` one of them."""
    layout.say(sentence(report))
    sections = {section.field: section for section in report.sections()}
    for part in _PARTS[type(report)]:
        rows = report.section(sections[part.field])
        if not rows or only not in (None, part.field):
            continue
        found = None if part.found is None else getattr(report, part.found)
        if isinstance(report, ConflictReport) and part.field == "conflicts" and not wide:
            _conflicts(report)
        else:
            print_table(_table(part, sections[part.field], rows), wide=wide, found=found)


def _table(part: Part, section: Section, rows: Sequence[msgspec.Struct]) -> Table:
    table = Table.section(section, rows)
    return msgspec.structs.replace(table, title=part.title, wide=frozenset(part.wide))


def _conflicts(report: ConflictReport) -> None:
    """A block each: what it is of, and a line for each path, the event's value first."""
    for conflict in report.conflicts:
        layout.title(_head(conflict))
        if conflict.event_segment is None:
            layout.indented("its event is not in the snapshot")
        for difference in conflict.differences:
            layout.indented(difference_text(difference))
    more = report.conflicts_found - len(report.conflicts)
    if more:
        layout.say(f"\n… and {more:,} more (--top)")


def _head(conflict: Conflict) -> str:
    key = "" if conflict.idempotency_key is None else f", key {printable(conflict.idempotency_key)}"
    return (
        f"{shown(conflict.event_id)}  {printable(conflict.entity_id)} of {printable(conflict.source)}{key}, "
        f"{shown(conflict.event_time)}"
    )
