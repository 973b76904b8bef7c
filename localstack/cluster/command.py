"""The cluster by hand."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cluster import keeper, programs
from cluster.errors import ClusterError


class _Plain(click.Group):
    """Says what went wrong without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Plain)
def main() -> None:
    """A throw-away Kubernetes cluster."""


@main.command("keep", hidden=True)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--pipe", is_flag=True, help="It is over when stdin ends.")
@click.option("--pods", is_flag=True, help="With a node for pods.")
def keep_command(directory: Path, pipe: bool, pods: bool) -> None:
    """Runs a cluster in DIRECTORY until it is over."""
    keeper.keep(directory, os.environ, pipe, pods)


@main.command("programs")
def programs_command() -> None:
    """Builds what is not there yet, and prints where each program is."""
    found = programs.find([*programs.CONTROL_PLANE, *programs.NODE, programs.HELM], os.environ)
    for path in found.values():
        click.echo(path)
