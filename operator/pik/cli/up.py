"""`pik up`"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from pik.aws.clients import AwsAccess
from pik.cli.allocating import keep_little
from pik.cli.collecting import spare_collector
from pik.cli.main import INTERRUPTED, one_line
from pik.cli.output import Table, print_table
from pik.cli.parameters import functions_option, max_wait_option
from pik.controller.objects import ObjectKey
from pik.controller.outcome import EventType, ObjectEvent
from pik.local.embedded import embedded
from pik.local.folder import Fault
from pik.local.state import State
from pik.local.up import Teller, UpSettings, local_mode


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
    type=click.IntRange(1, 65535),
    help="Port of the embedded emulator. Default: that of the last time, 4566, or a free one.",
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
    "--memory",
    metavar="SIZE",
    help="Memory for one computation, such as 1GiB. Default: 80% of the machine's.",
)
@functions_option
@max_wait_option
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
    emulator_port: int | None,
    region: str | None,
    port: int,
    memory: str | None,
    functions: Path | None,
    max_wait: float,
    patience: float,
) -> None:
    """Reconcile a folder of manifests, and take its streams' events over HTTP on 127.0.0.1, until Ctrl-C.

    State lies in DIRECTORY/.pik; whatever ends it, the next run goes on from there. With --once all is as it
    should be when it is Ready or Complete, and a ReplayJob with mode DryRun when it is Planned.
    """
    if emulator and endpoint_url:
        raise click.UsageError("--emulator and --endpoint-url (or AWS_ENDPOINT_URL) exclude each other")
    keep_little()
    state = State(directory)
    state.create()
    with ExitStack() as stack:
        stack.enter_context(state.locked())  # before the emulator: it may be another's that is at work
        endpoint = stack.enter_context(embedded(state, emulator_port)) if emulator else endpoint_url
        access = AwsAccess(endpoint_url=endpoint, region=region)
        settings = UpSettings(port=port, memory=memory, functions=functions, max_wait=max_wait)
        left = asyncio.run(_run(state, access, settings, patience if once else None))
    if left is None:
        click.get_current_context().exit(INTERRUPTED if once else 0)
    if left:
        print_table(Table.of(("object", "reason", "message"), left, "Not as it should be"), gather=False)
        click.get_current_context().exit(1)
    click.echo("all is as it should be")


async def _run(
    state: State, access: AwsAccess, settings: UpSettings, patience: float | None
) -> list[tuple[str, str, str]] | None:
    """What is not as it should be when all has settled; None where it was stopped before, which without
    `patience` is the only end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stop)
    async with local_mode(state, access, settings, Teller(_tell, _complain)) as mode:
        click.echo(
            f"working on {state.directory}; events go to {mode.gateway}/v1/streams/NAMESPACE/NAME/events"
        )
        spare_collector()
        end = mode.until_broken() if patience is None else mode.until_settled(patience)
        ending, stopped = asyncio.create_task(end), asyncio.create_task(stop.wait())
        await asyncio.wait({ending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            ending.cancel()
            return None
        stopped.cancel()
        await ending
        faults = [("", "Invalid", str(fault)) for fault in mode.faults]
        return [*faults, *((str(one.key), one.reason, one.message) for one in mode.unfinished())]


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(INTERRUPTED)  # asked for twice; what is under way can be gone on with at any point
    stop.set()
    click.echo("stopping: what was begun is brought to a good place (again: at once)", err=True)


def _tell(key: ObjectKey, event: ObjectEvent) -> None:
    colour = "yellow" if event.type is EventType.WARNING else None
    click.secho(f"{key}: {event.reason}: {one_line(event.message)}", fg=colour)


def _complain(faults: Sequence[Fault]) -> None:
    for fault in faults:
        click.secho(str(fault), fg="red", err=True)
    if not faults:
        click.echo("every manifest is in order now")
