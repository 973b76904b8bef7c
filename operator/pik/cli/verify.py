"""`pik verify`"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from pik.api.capture_stream import CaptureStream
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, print_table, show_csv, show_json
from pik.cli.parameters import LAST_SEAL
from pik.cli.progress import progress
from pik.cli.wording import number
from pik.execution.seals import SealHead
from pik.execution.verify import Finding, Kind, Verification, verify
from pik.execution.verify.findings import NOTES

_OF_SEALS = (Kind.SEAL_MISSING, Kind.SEAL_BROKEN, Kind.SEAL_NEW)
_FIELDS = ("kind", "key", "rows", "columns", "expected", "found", "event_id", "message")


@click.command("verify")
@click.argument("stream")
@click.option(
    "--last-seal",
    type=LAST_SEAL,
    metavar="NUMBER:SHA256",
    help="The last seal as an earlier verification named it: it must still be what it was.",
)
@output_option
@at_a_desk
async def command(desk: Desk, stream: str, last_seal: SealHead | None, output: Format) -> None:
    """Hold a stream's raw data against its seals, manifest and index, and the rows' own hashes.

    Nothing is changed. Exit code 1 where something is wrong, or where not everything could be read.
    """
    resource = await desk.find(CaptureStream, stream)
    opened = (await desk.open(resource)).stream
    status = resource.status.storage
    with progress(f"verifying {stream}", "segments") as advance:
        verification = await verify(
            opened, advance, owner=None if status is None else status.owner, kept=last_seal
        )
    findings = Table.of(
        _FIELDS,
        [_row(finding) for finding in verification.findings],
        "Findings",
        wide=("expected", "found", "event_id"),
    )
    match output:
        case Format.JSON:
            show_json(_document(verification))
        case Format.CSV:
            show_csv(findings)
        case Format.TABLE | Format.WIDE:
            layout.say(_sentence(verification))
            for reason in verification.unread:
                layout.say(f"not read: {reason}")
            if findings.rows:
                print_table(findings, wide=output is Format.WIDE, gather=False)
            chain_holds = not any(finding.kind in _OF_SEALS for finding in verification.findings)
            if verification.head is not None and chain_holds:
                layout.say(
                    f"\nThe last seal is number {verification.head.number:,}. Keep it elsewhere, for a later"
                    f" --last-seal:\n{verification.head}"
                )
    if not verification.ok:
        click.get_current_context().exit(1)


def _sentence(verification: Verification) -> str:
    checked = verification.checked
    read = (
        f"{number(checked.rows, 'row')} in {number(checked.segments, 'segment')} "
        f"({checked.bytes / 1e6:,.1f} MB), {checked.sealed:,} of them sealed"
    )
    if not verification.complete:
        return f"Not everything could be read. Of what could: {read}."
    if verification.ok:
        return f"Nothing is wrong: {read}."
    return f"{number(len(verification.errors), 'thing')} wrong: {read}."


def _row(finding: Finding) -> list[str | None]:
    rows = None if finding.rows is None else str(finding.rows)
    columns = ", ".join(finding.columns)
    told = [finding.expected, finding.found, finding.event_id, finding.message]
    return [finding.kind, finding.object, rows, columns, *told]


def _document(verification: Verification) -> dict[str, Any]:
    """All of it; `rows` of a finding are `{first, last, numbered}`."""
    whole: dict[str, Any] = msgspec.to_builtins(verification)
    findings = [
        {"key": finding.pop("object"), **finding, "note": finding["kind"] in NOTES}
        for finding in whole["findings"]
    ]
    return {**whole, "findings": findings, "ok": verification.ok, "complete": verification.complete}
