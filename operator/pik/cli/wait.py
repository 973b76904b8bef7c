"""`pik wait`"""

from __future__ import annotations

import asyncio
import time

import click

from pik.api.kinds import AnyResource
from pik.cli.desk import at_a_shelf
from pik.cli.resources import KIND
from pik.cli.shelf import Item, Shelf
from pik.domain.errors import PikError

_DELETE = "delete"


class NotYet(PikError):
    """What was waited for did not come to be in time; the text says what there is instead."""


@click.command("wait")
@click.argument("kind", type=KIND)
@click.argument("name")
@click.option(
    "--for",
    "wanted",
    required=True,
    metavar="condition=NAME[=STATUS]|delete",
    help="A condition (Ready, Planned, Complete, …) that is True, or has this status; or that it is gone.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds at most."
)
@at_a_shelf
async def command(shelf: Shelf, kind: type[AnyResource], name: str, wanted: str, timeout: float) -> None:
    """Wait until an object has a condition, as kubectl does; also for one that is not there yet."""
    word, _, condition = wanted.partition("=")
    if wanted != _DELETE and (word != "condition" or not condition):
        raise click.BadParameter("is condition=NAME, condition=NAME=STATUS or delete", param_hint="--for")
    condition, _, status = condition.partition("=")
    deadline = time.monotonic() + timeout
    while True:
        item = await shelf.look(kind, name)
        if item is None and wanted == _DELETE:
            break
        if item is not None and _status_of(item, condition) == (status or "True"):
            break
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotYet(f"{kind.KIND} {name}: {_instead(shelf, item)}")
        await asyncio.sleep(min(shelf.pause, left))
    click.echo(
        f"{kind.KIND} {name}: " + ("gone" if wanted == _DELETE else f"{condition} is {status or 'True'}")
    )


def _status_of(item: Item, condition: str) -> str | None:
    return next((one["status"] for one in item.conditions if one["type"].lower() == condition.lower()), None)


def _instead(shelf: Shelf, item: Item | None) -> str:
    if item is None:
        return f"it is not there, in {shelf.place}"
    told = [f"{one['type']} is {one['status']} ({one['reason']})" for one in item.conditions]
    return ", ".join(told) or f"nothing has looked at it yet; {shelf.worker}"
