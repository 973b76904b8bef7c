"""What an inspection found, in a sentence or two."""

from __future__ import annotations

from functools import singledispatch

from pik.cli.wording import duration_text, number, share_text, shown
from pik.execution.inspect.conflicts import ConflictReport
from pik.execution.inspect.duplicates import DuplicateReport
from pik.execution.inspect.gaps import GapReport
from pik.execution.inspect.late import LateReport
from pik.execution.inspect.order import OrderReport
from pik.execution.inspect.report import Report
from pik.execution.inspect.skew import SkewReport


@singledispatch
def sentence(report: Report) -> str:
    return f"{type(report).__name__}"


@sentence.register
def _(report: LateReport) -> str:
    text = (
        f"{number(report.late, 'event')} of {report.events:,} ({share_text(report.share)}) became known "
        f"more than {duration_text(report.late_after)} after {'it' if report.late == 1 else 'they'} happened."
    )
    if report.p50 is not None and report.p99 is not None and report.longest is not None:
        text += (
            f" Half within {duration_text(report.p50)}, 99% within {duration_text(report.p99)}, "
            f"the slowest after {duration_text(report.longest)}."
        )
    if report.unreceived:
        text += f" {number(report.unreceived, 'event')} without a received time: known by ingest."
    return text


@sentence.register
def _(report: GapReport) -> str:
    every = duration_text(report.every)
    text = (
        f"{number(report.missing, 'slot')} of {every} missing out of {report.expected:,} "
        f"({share_text(report.share)}), in {number(report.runs_found, 'run')}; "
        f"{number(report.incidents_found, 'incident')} across keys."
    )
    if report.unkeyed:
        text += f" {number(report.unkeyed, 'arrival')} without such a key."
    if report.silent_keys:
        text += f" {number(report.silent_keys, 'key')} fell silent before the stream's last arrival."
    if report.stream_last is not None:
        text += f" The stream's last arrival is of {shown(report.stream_last)}"
        silent = f"; {number(report.stream_silence, 'slot')} since then without one"
        text += f"{silent if report.stream_silence else ''}."
    return text


@sentence.register
def _(report: DuplicateReport) -> str:
    text = (
        f"{number(report.duplicates, 'duplicate')} among {number(report.arrivals, 'arrival')} "
        f"({share_text(report.share)}), of {number(report.events_repeated, 'event')}"
    )
    return f"{text}; {number(report.storms_found, 'storm')}."


@sentence.register
def _(report: ConflictReport) -> str:
    text = (
        f"{number(report.conflicts_found, 'arrival')} in conflict with "
        f"{number(report.events_in_conflict, 'event')}."
    )
    if report.uncompared:
        text += f" {report.uncompared:,} could not be compared: their event is not in the snapshot."
    return text


@sentence.register
def _(report: OrderReport) -> str:
    text = (
        f"{number(report.disordered, 'event')} of {report.events:,} ({share_text(report.share)}) came after "
        f"a later one of their entity, in {number(report.entities_affected, 'entity', 'entities')}."
    )
    if report.furthest_behind is not None:
        text += f" The furthest is {duration_text(report.furthest_behind)} behind."
    return text


@sentence.register
def _(report: SkewReport) -> str:
    text = (
        f"{number(report.odd, 'event')} of {report.events:,} ({share_text(report.share)}) with an odd time: "
        f"{report.ahead:,} ahead of the clock, {report.far_ahead:,} by more than a day, "
        f"{report.epoch:,} in January 1970, {report.too_old:,} before 1990."
    )
    if report.furthest_ahead is not None:
        text += f" The furthest is {duration_text(report.furthest_ahead)} ahead."
    return text
