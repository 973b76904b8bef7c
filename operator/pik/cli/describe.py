"""`pik describe`"""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from pik.api.kinds import AnyResource
from pik.aws.system import SystemClock
from pik.cli import layout
from pik.cli.desk import dir_option
from pik.cli.handover import record_of
from pik.cli.output import Table, print_table
from pik.cli.resources import KIND, age
from pik.domain.instants import parse_instant
from pik.local.state import Record, State


@click.command("describe")
@click.argument("kind", type=KIND)
@click.argument("name")
@dir_option
def command(kind: type[AnyResource], name: str, directory: Path) -> None:
    """Show an object: what is wanted, what was observed, and what happened to it."""
    record = record_of(State(directory), kind, name)
    manifest = record.manifest
    status = dict(manifest.get("status", {}))
    conditions = status.pop("conditions", [])
    layout.say(f"{record.key}, declared in {record.source}")
    for title, part in (("Metadata", manifest["metadata"]), ("Spec", manifest["spec"]), ("Status", status)):
        layout.title(title)
        click.echo(yaml.safe_dump(part, sort_keys=False, allow_unicode=True).rstrip())
    fields = ("type", "status", "reason", "message")
    rows = [[condition.get(field, "") for field in fields] for condition in conditions]
    print_table(Table.of(fields, rows, "Conditions"), gather=False)
    print_table(_events(record), gather=False)


def _events(record: Record) -> Table:
    now = SystemClock().now()
    rows = [
        (event.type, event.reason, f"{age(parse_instant(event.last), now)} (x{event.count})", event.message)
        for event in record.events
    ]
    return Table.of(("type", "reason", "age", "message"), rows, "Events")
