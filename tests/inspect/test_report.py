"""Every report says of itself what a renderer needs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from pik.execution.inspect.conflicts import ConflictOptions, ConflictReport, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, DuplicateReport, duplicates
from pik.execution.inspect.gaps import GapOptions, GapReport, gaps
from pik.execution.inspect.late import LateOptions, LateReport, late
from pik.execution.inspect.order import OrderOptions, OrderReport, order
from pik.execution.inspect.report import Column, Kind, Report
from pik.execution.inspect.skew import SkewOptions, SkewReport, skew
from reading.histories import history, recorded

REPORTS = [LateReport, GapReport, DuplicateReport, ConflictReport, OrderReport, SkewReport]


@pytest.mark.parametrize("report", REPORTS)
def test_each_field_is_in_the_summary_or_a_section(report: type[Report]) -> None:
    named = [column.field for column in report.summary()] + [s.field for s in report.sections()]
    assert sorted(named) == sorted(report.__struct_fields__)
    assert report.sections()


def test_columns_have_titles_and_kinds() -> None:
    section = LateReport.sections()[1]
    assert (section.field, section.title) == ("latest", "Latest")
    assert section.columns[0] == Column("event_id", "Event id", Kind.TEXT)
    assert section.columns[-3:] == (
        Column("event_time", "Event time", Kind.INSTANT),
        Column("known_time", "Known time", Kind.INSTANT),
        Column("lag", "Lag", Kind.DURATION),
    )
    assert Column("p50", "P50", Kind.DURATION) in LateReport.summary()
    assert Column("share", "Share", Kind.SHARE) in LateReport.summary()
    assert Column("incident", "Incident", Kind.COUNT) in GapReport.sections()[1].columns
    assert Column("keys", "Keys", Kind.LIST) in GapReport.sections()[2].columns


async def test_every_report_becomes_a_document(tmp_path: Path) -> None:
    made, snapshot = await recorded(tmp_path, history(3))
    asked = (made.stream, snapshot, None)
    for report in [
        await late(*asked, LateOptions(timedelta(minutes=1))),
        await gaps(*asked, GapOptions(timedelta(hours=1))),
        await duplicates(*asked, DuplicateOptions()),
        await conflicts(*asked, ConflictOptions()),
        await order(*asked, OrderOptions()),
        await skew(*asked, SkewOptions()),
    ]:
        document = json.loads(json.dumps(report.document()))
        assert set(document) == {"summary", *(section.field for section in report.sections())}
        first = report.sections()[0]
        assert [list(row) for row in document[first.field]] == [
            [column.field for column in report.columns] for _ in report.rows
        ]
        assert set(document["summary"]) == {column.field for column in report.summary()}
