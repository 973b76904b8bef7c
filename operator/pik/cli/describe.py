"""`pik describe`"""

from __future__ import annotations

from collections.abc import Sequence

import click
import yaml

from pik.api.kinds import AnyResource
from pik.aws.system import SystemClock
from pik.cli import layout
from pik.cli.desk import at_a_shelf
from pik.cli.output import Table, print_table
from pik.cli.resources import KIND, age
from pik.cli.shelf import Seen, Shelf, find
from pik.domain.instants import parse_instant


@click.command("describe")
@click.argument("kind", type=KIND)
@click.argument("name")
@at_a_shelf
async def command(shelf: Shelf, kind: type[AnyResource], name: str) -> None:
    """Show an object: what is wanted, what was observed, and what happened to it."""
    item = await find(shelf, kind, name)
    events = await shelf.events(item)
    manifest = item.manifest
    status = dict(manifest.get("status", {}))
    conditions = status.pop("conditions", [])
    layout.say(f"{item.key}, {item.source}")
    for title, part in (("Metadata", manifest["metadata"]), ("Spec", manifest["spec"]), ("Status", status)):
        layout.title(title)
        click.echo(yaml.safe_dump(part, sort_keys=False, allow_unicode=True).rstrip())
    fields = ("type", "status", "reason", "message")
    rows = [[condition.get(field, "") for field in fields] for condition in conditions]
    print_table(Table.of(fields, rows, "Conditions"), gather=False)
    print_table(_events(events), gather=False)


def _events(events: Sequence[Seen]) -> Table:
    now = SystemClock().now()
    rows = [
        (event.type, event.reason, f"{age(parse_instant(event.last), now)} (x{event.times})", event.message)
        for event in events
    ]
    return Table.of(("type", "reason", "age", "message"), rows, "Events")
