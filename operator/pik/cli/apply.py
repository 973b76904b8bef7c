"""`pik apply`"""

from __future__ import annotations

from pathlib import Path

import click

from pik.api.manifests import UnreadableManifest, load_path
from pik.cli.desk import folder_of
from pik.cli.handover import apply
from pik.cli.shelf import NotAdmitted
from pik.cli.where import Where, where_options
from pik.local.state import State


@click.command("apply")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="File, or folder, of manifests; may be given again.",
)
@where_options
def command(files: tuple[Path, ...], place: Where) -> None:
    """Create or change objects beside those that the folder's own files declare.

    In a cluster that is done by `kubectl apply`.
    """
    directory = folder_of(place, "in a cluster objects are applied by `kubectl apply -f FILE`")
    state = State(directory)
    try:
        manifests = [manifest for file in files for manifest in load_path(file)]
    except UnreadableManifest as error:
        raise NotAdmitted(str(error)) from error
    for manifest in manifests:
        key, change = apply(state, manifest)
        click.echo(f"{key} {change}")
    if state.running() is None:
        click.echo(f"no `pik up` works on {directory} now: the next one takes it up", err=True)
