"""`pik approve`"""

from __future__ import annotations

from collections import Counter

import click

from pik.api.replay_job import PlanStatus, ReplayJob
from pik.cli import layout
from pik.cli.desk import at_a_shelf
from pik.cli.shelf import Shelf, find
from pik.cli.wording import number, short, shown
from pik.domain.errors import NotReady
from pik.planning.replay.spec import replay_spec


@click.command("approve")
@click.argument("name", metavar="REPLAYJOB")
@click.option("--by", metavar="NAME", help="Who approves. In a cluster: your own user name, and no other.")
@click.option(
    "--plan",
    metavar="HASH",
    help="The plan that was looked at, or its beginning; refused if it is another now.",
)
@at_a_shelf
async def command(shelf: Shelf, name: str, by: str | None, plan: str | None) -> None:
    """Approve the plan that a ReplayJob shows: no other plan is run."""
    item = await find(shelf, ReplayJob, name)
    job = item.read(ReplayJob)
    found = job.status.plan
    if found is None:
        raise NotReady(f"{item.key} shows no plan yet: see `pik describe replayjob {name}`")
    if plan is not None and not found.hash.startswith(plan):
        raise NotReady(f"{item.key} shows the plan {found.hash} now, and not {plan}: look at it again")
    who = await shelf.approve(item, found.hash, by)
    events = number(found.matched or 0, "event")
    click.echo(f"{item.key}: plan {short(found.hash)} ({events}) approved by {who}")
    layout.fields(_approved(job, found))
    if hint := shelf.idle():
        click.echo(hint, err=True)


def _approved(job: ReplayJob, plan: PlanStatus) -> list[tuple[str, str]]:
    spec = replay_spec(job.spec, job.metadata.namespace)
    rows = [
        ("from", f"{spec.stream}, {spec.time_field.value} from {shown(spec.start)} to {shown(spec.end)}"),
        ("as of", shown(plan.asOf)),
        ("to", f"{spec.target.type.value} {spec.target.address}"),
        ("order", spec.order.value),
    ]
    if spec.transform:
        rows.append(("changed", ", ".join(f"{rule.path} {rule.action}" for rule in spec.transform)))
    counts = Counter(shape.eventType for shape in plan.shapes)
    several = [f"{count} of {kind}" for kind, count in counts.items() if count > 1]
    if several:
        rows.append(("shapes", f"{', '.join(several)}: see `pik describe`"))
    if plan.stale:
        entities = number(plan.stale, "entity", "entities")
        rows.append(("stale", f"{entities} with newer events outside the slice: onStale {spec.on_stale}"))
    if plan.estimatedDuration is not None:
        rows.append(("takes", f"some {plan.estimatedDuration}"))
    return rows
