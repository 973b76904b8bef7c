"""`pik up`"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import click

from pik.aws.clients import AwsAccess
from pik.cli.output import Table, print_table
from pik.controller.objects import ObjectKey
from pik.controller.outcome import EventType, ObjectEvent
from pik.local.embedded import embedded
from pik.local.folder import Fault
from pik.local.settled import Unfinished
from pik.local.state import State
from pik.local.up import LocalMode, Teller, UpSettings, local_mode

EMULATOR_PORT = 4566
"""Where LocalStack is by convention, so that queue URLs in manifests stay as they are."""


@click.command("up")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--once", is_flag=True, help="End when all has settled; exit code 0 only if all is as it should be."
)
@click.option(
    "--endpoint-url",
    envvar="AWS_ENDPOINT_URL",
    show_envvar=True,
    metavar="URL",
    help="An AWS emulator. Default: AWS itself.",
)
@click.option("--emulator", is_flag=True, help="Start the embedded AWS emulator, and stop it at the end.")
@click.option(
    "--emulator-port",
    type=click.IntRange(0, 65535),
    default=EMULATOR_PORT,
    show_default=True,
    help="Port of the embedded emulator; 0 takes a free one.",
)
@click.option(
    "--region", envvar="AWS_REGION", show_envvar=True, help="AWS region. Default: that of the profile."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the gateway. Default: that of the last time, or a free one.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="With --once: seconds to go on where nothing but retries is under way.",
)
def command(
    directory: Path,
    once: bool,
    endpoint_url: str | None,
    emulator: bool,
    emulator_port: int,
    region: str | None,
    port: int,
    patience: float,
) -> None:
    """Reconcile a folder of manifests, and take its streams' events over HTTP on 127.0.0.1, until Ctrl-C.

    State lies in DIRECTORY/.pik; whatever ends it, the next run goes on from there. With --once all is as it
    should be when it is Ready or Complete, and a ReplayJob with mode DryRun when it is Planned.
    """
    if emulator and endpoint_url:
        raise click.UsageError("--emulator and --endpoint-url (or AWS_ENDPOINT_URL) exclude each other")
    state = State(directory)
    state.create()
    settings = UpSettings(port=port)
    with embedded(state, emulator_port, wanted=emulator) as running:
        access = AwsAccess(endpoint_url=running or endpoint_url, region=region)
        left = asyncio.run(_run(directory, access, settings, patience if once else None))
    if left is None:
        return
    if left:
        _show(left)
        click.get_current_context().exit(1)
    click.echo("all is as it should be")


async def _run(
    directory: Path, access: AwsAccess, settings: UpSettings, patience: float | None
) -> list[Unfinished] | None:
    """What is not as it should be when all has settled; None where it runs until it is stopped. Raises
    KeyboardInterrupt where that is asked for before."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stopper(stop))
    async with local_mode(directory, access, settings, Teller(_tell, _complain)) as mode:
        click.echo(f"{directory} is worked on; events go to {mode.gateway}/v1/streams/NAMESPACE/NAME/events")
        ends = asyncio.create_task(_end(mode, patience))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ends, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ends.done():
            ends.cancel()
            click.echo("stopping: what was begun is brought to a good end (Ctrl-C again: at once)", err=True)
            if patience is not None:
                raise KeyboardInterrupt
            return None
        await ends
        return [*(Unfinished(_NOWHERE, "Invalid", str(fault)) for fault in mode.faults), *mode.unfinished()]


_NOWHERE = ObjectKey("", "", "")


async def _end(mode: LocalMode, patience: float | None) -> None:
    if patience is None:
        await mode.until_broken()
    else:
        await mode.until_settled(patience)


def _stopper(stop: asyncio.Event) -> object: ...
