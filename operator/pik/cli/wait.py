"""`pik wait`"""

from __future__ import annotations

import time
from pathlib import Path

import click

from pik.api.kinds import AnyResource
from pik.cli.desk import dir_option
from pik.cli.resources import KIND
from pik.domain.errors import PikError
from pik.local.state import Record, State

_PAUSE = 0.1  # seconds between two looks
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
@dir_option
def command(kind: type[AnyResource], name: str, wanted: str, timeout: float, directory: Path) -> None:
    """Wait until an object has a condition, as kubectl does; also for one that is not there yet."""
    word, _, condition = wanted.partition("=")
    if wanted != _DELETE and (word != "condition" or not condition):
        raise click.BadParameter("is condition=NAME, condition=NAME=STATUS or delete", param_hint="--for")
    condition, _, status = condition.partition("=")
    state = State(directory)
    deadline = time.monotonic() + timeout
    while True:
        record = _find(state, kind, name)
        if record is None and wanted == _DELETE:
            break
        if record is not None and _status_of(record, condition) == (status or "True"):
            break
        if time.monotonic() >= deadline:
            raise NotYet(f"{kind.KIND} {name}: {_instead(record)}")
        time.sleep(_PAUSE)
    click.echo(
        f"{kind.KIND} {name}: " + ("gone" if wanted == _DELETE else f"{condition} is {status or 'True'}")
    )


def _find(state: State, kind: type[AnyResource], name: str) -> Record | None:
    named = (record for record in state.records() if record.key.kind == kind.KIND)
    return next((one for one in named if name in (one.key.name, f"{one.key.namespace}/{one.key.name}")), None)


def _status_of(record: Record, condition: str) -> str | None:
    conditions = record.resource.status.conditions
    return next((one.status for one in conditions if one.type.lower() == condition.lower()), None)


def _instead(record: Record | None) -> str:
    if record is None:
        return "it is not there"
    told = [f"{one.type} is {one.status} ({one.reason})" for one in record.resource.status.conditions]
    return ", ".join(told) or "nothing has looked at it yet; does a `pik up` work on the folder?"
