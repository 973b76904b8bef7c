"""The cluster by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from cluster import handle, images, keeper, machine, programs, record, tools
from cluster.errors import ClusterError, ClusterImpossible

_PROJECT = Path(__file__).parent.parent.parent


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


@main.command("up")
@click.option(
    "--pods/--no-pods", default=None, help="With a node, or without.  [default: where it is possible]"
)
@click.option("--image/--no-image", default=True, help="Build pik's image and give it to the node.")
def up_command(pods: bool | None, image: bool) -> None:
    """Starts one, unless it runs already, and says how to reach it."""
    home = _home()
    if not record.is_held(home):
        shutil.rmtree(home, ignore_errors=True)
        cluster = handle.start_apart(home, os.environ, _can_run_pods() if pods is None else pods)
        if cluster.machine is not None and image:
            cluster.load(_image())
            click.echo(f"PIK_IMAGE={images.PIK_IMAGE}")
    _show(home)


@main.command("down")
def down_command() -> None:
    """Ends what `up` started. Nothing of it is kept."""
    if not _home().exists():
        click.echo("there is none that `make cluster` has started")
        return
    handle.end(_home())
    shutil.rmtree(_home(), ignore_errors=True)


@main.command("status")
def status_command() -> None:
    """Says how to reach it; exit code 1 where none runs."""
    _show(_home())


@main.command("tools")
def tools_command() -> None:
    """Gets what tests on Kubernetes need: packages as root on Debian, programs and
    images built into the cache."""
    tools.install(click.echo, os.environ)
    try:
        programs.find([*programs.CONTROL_PLANE, programs.HELM], os.environ)
        if _can_run_pods():
            programs.find(programs.NODE, os.environ)
            _image()
    except ClusterImpossible as error:
        click.echo(f"{error}. Tests on Kubernetes are skipped.")


@main.command("keep", hidden=True)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--pipe", is_flag=True, help="It is over when stdin ends.")
@click.option("--pods", is_flag=True, help="With a node for pods.")
def keep_command(directory: Path, pipe: bool, pods: bool) -> None:
    """Runs a cluster in DIRECTORY until it is over."""
    keeper.keep(directory, os.environ, pipe, pods)


def _image() -> Path:
    return images.Images(programs.cache_directory(os.environ), os.environ).pik(_PROJECT)


def _home() -> Path:
    return programs.cache_directory(os.environ) / "cluster"


def _can_run_pods() -> bool:
    try:
        machine.check()
    except ClusterImpossible as error:
        click.echo(f"Without pods: {error}", err=True)
        return False
    return True


def _show(home: Path) -> None:
    cluster = handle.attach(home, os.environ)
    click.echo(f"KUBECONFIG={cluster.kubeconfig}\nKUBECTL={cluster.kubectl_program}")
    if cluster.aws:
        click.echo(f"AWS_ENDPOINT_URL={cluster.aws}")
