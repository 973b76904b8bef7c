"""`pik status`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pik.api.conditions import ConditionType, Reason, condition_of, is_true
from pik.api.kinds import AnyResource
from pik.cli.desk import dir_option
from pik.cli.output import Format, Table, output_option, show_csv, show_json
from pik.local.state import State

_GOOD = (Reason.PLANNED,)  # of a ReplayJob whose plan is shown


@click.command("status")
@output_option
@dir_option
def command(output: Format, directory: Path) -> None:
    """Whether a `pik up` works on the folder, where it takes events, which AWS it uses, and how its objects
    are."""
    state = State(directory)
    state.check()
    running, last = state.running(), state.up()
    resources = [record.resource for record in state.records()]
    document: dict[str, Any] = {
        "folder": str(directory),
        "running": running is not None,
        "pid": running.pid if running else None,
        "gateway": running.gateway if running else None,
        "endpoint": last.endpoint if last else None,
        "region": last.region if last else None,
        "objects": len(resources),
        "good": sum(map(_is_good, resources)),
    }
    match output:
        case Format.JSON:
            show_json(document)
        case Format.CSV:
            show_csv(Table.of(tuple(document), [tuple(document.values())]))
        case Format.TABLE:
            at_work = f"process {running.pid}, events to {running.gateway}" if running else "nobody"
            click.echo(f"at work on {directory}: {at_work}")
            click.echo(f"AWS: {document['endpoint'] or 'AWS itself'}")
            click.echo(f"objects: {document['objects']}, of which {document['good']} are Ready or Planned")


def _is_good(resource: AnyResource) -> bool:
    complete = condition_of(resource.status.conditions, ConditionType.COMPLETE)
    planned = complete is not None and complete.reason in _GOOD
    return planned or is_true(resource.status.conditions, ConditionType.READY)
