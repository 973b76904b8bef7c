"""`pik status`"""

from __future__ import annotations

import click

from pik.api.conditions import ConditionType, Reason, condition_of, is_true
from pik.api.kinds import KINDS, AnyResource
from pik.cli.desk import at_a_shelf
from pik.cli.output import Format, Table, output_option, show_csv, show_json
from pik.cli.shelf import Shelf

_GOOD = (Reason.PLANNED,)  # of a ReplayJob whose plan is shown


@click.command("status")
@output_option
@at_a_shelf
async def command(shelf: Shelf, output: Format) -> None:
    """Who works on the folder, where it takes events and which AWS it uses, or which cluster it is; and how
    the objects are."""
    known, sentences = await shelf.standing()
    resources = [item.resource for kind in KINDS.values() for item in await shelf.items(kind)]
    good = sum(map(_is_good, resources))
    document = {**known, "objects": len(resources), "good": good}
    match output:
        case Format.JSON:
            show_json(document)
        case Format.CSV:
            show_csv(Table.of(tuple(document), [tuple(document.values())]))
        case Format.TABLE | Format.WIDE:
            for sentence in sentences:
                click.echo(sentence)
            click.echo(f"objects: {len(resources)}, of which {good} are Ready or Planned")


def _is_good(resource: AnyResource) -> bool:
    complete = condition_of(resource.status.conditions, ConditionType.COMPLETE)
    planned = complete is not None and complete.reason in _GOOD
    return planned or is_true(resource.status.conditions, ConditionType.READY)
