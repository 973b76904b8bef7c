"""`pik approve`"""

from __future__ import annotations

from pathlib import Path

import click

from pik.api.replay_job import ReplayJob
from pik.cli.desk import dir_option
from pik.cli.handover import patch, record_of
from pik.cli.wording import number
from pik.domain.errors import NotReady
from pik.local.state import State


@click.command("approve")
@click.argument("name", metavar="REPLAYJOB")
@click.option("--by", required=True, help="Who approves.")
@click.option(
    "--plan",
    metavar="HASH",
    help="The plan that was looked at, or its beginning; refused if it is another now.",
)
@dir_option
def command(name: str, by: str, plan: str | None, directory: Path) -> None:
    """Approve the plan that a ReplayJob shows: no other plan is run."""
    state = State(directory)
    record = record_of(state, ReplayJob, name)
    job = record.resource
    shown = job.status.plan if isinstance(job, ReplayJob) else None
    if shown is None or shown.hash is None:
        raise NotReady(f"{record.key} shows no plan yet: see `pik describe replayjob {name}`")
    if plan is not None and not shown.hash.startswith(plan):
        raise NotReady(f"{record.key} shows the plan {shown.hash} now, and not {plan}: look at it again")
    patch(state, record, {"spec": {"approval": {"plan": shown.hash, "by": by}}})
    click.echo(
        f"{record.key}: plan {shown.hash[:12]} ({number(shown.matched or 0, 'event')}) approved by {by}"
    )
