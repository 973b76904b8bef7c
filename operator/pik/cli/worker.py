"""`pik worker`"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from pik.aws.clients import AwsAccess
from pik.cluster.jobs.process import run_worker
from pik.cluster.jobs.secrets import SECRETS
from pik.cluster.jobs.task import TASK
from pik.cluster.jobs.worker import Surroundings

_CONNECTIONS = 8  # to AWS


@click.command("worker")
@click.option("--task", envvar=TASK, show_envvar=True, required=True, metavar="JSON", help="What to do.")
@click.option(
    "--shard",
    envvar="JOB_COMPLETION_INDEX",
    show_envvar=True,
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="Which shard of a replay.",
)
@click.option(
    "--scratch",
    envvar="PIK_SCRATCH",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    default="/scratch",
    show_default=True,
    help="Directory for segments that are being read.",
)
@click.option(
    "--secrets",
    envvar="PIK_SECRETS",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    default=SECRETS,
    show_default=True,
    help="Directory with the keys of the target's Secret.",
)
@click.option(
    "--termination-log",
    envvar="PIK_TERMINATION_LOG",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default="/dev/termination-log",
    show_default=True,
    help="File that says why it ended.",
)
@click.option(
    "--endpoint-url",
    envvar="AWS_ENDPOINT_URL",
    show_envvar=True,
    metavar="URL",
    help="An AWS emulator, instead of AWS.",
)
@click.option("--region", envvar="AWS_REGION", show_envvar=True, metavar="REGION", help="Of AWS.")
def command(
    *,
    task: str,
    shard: int | None,
    scratch: Path,
    secrets: Path,
    termination_log: Path,
    endpoint_url: str | None,
    region: str | None,
) -> None:
    """Send one shard of a replay, or compute one aggregate, as a pod of the operator's Jobs does.

    \b
    Exit codes:
      0   done: the end of the shard is on record, or the version is kept
      1   not this time; another pod may succeed, and goes on where this one was
      2   the command was not understood
      10  failed for good, and that is on record
      11  no pod with this task can succeed
      12  halted at a checkpoint by SIGTERM
      13  out of memory
    """
    around = Surroundings(
        access=AwsAccess(endpoint_url=endpoint_url, region=region, connections=_CONNECTIONS),
        shard=shard,
        holder=socket.gethostname(),
        scratch=scratch,
        secrets=secrets,
    )
    sys.exit(run_worker(task, around, termination_log))
