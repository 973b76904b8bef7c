"""`pik delete`"""

from __future__ import annotations

import click

from pik.api.common import GROUP
from pik.api.kinds import AnyResource
from pik.cli.desk import folder_of
from pik.cli.handover import delete, record_of
from pik.cli.resources import KIND
from pik.cli.where import InCluster, Where, where_options
from pik.local.state import State


@click.command("delete")
@click.argument("kind", type=KIND)
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait until it is gone.",
)
@where_options
def command(kind: type[AnyResource], name: str, timeout: float, place: Where) -> None:
    """Delete an object that was applied. Its bucket, table, runs and versions stay, unless deletionPolicy is
    Delete.

    In a cluster that is done by `kubectl delete`.
    """
    within = f" -n {place.namespace}" if isinstance(place, InCluster) and place.namespace else ""
    instead = f"in a cluster objects are deleted by `kubectl delete {kind.PLURAL}.{GROUP} {name}{within}`"
    state = State(folder_of(place, instead))
    record = record_of(state, kind, name)
    if delete(state, record, timeout):
        click.echo(f"{record.key} deleted")
    else:
        click.echo(f"{record.key} is deleted by the next `pik up`")
