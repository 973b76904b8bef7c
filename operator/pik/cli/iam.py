"""`pik iam`"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import click
import yaml

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.api.manifests import UnreadableManifest, load_path
from pik.api.replay_job import ReplayJob
from pik.api.validation import admit
from pik.api.violations import InvalidManifest
from pik.cli.desk import Doors
from pik.cli.parameters import OneOf
from pik.cli.shelf import NotAdmitted, find, shelf_at
from pik.cli.where import Where, where_options
from pik.controller.athena import work_group_of
from pik.planning.iam.places import Place, Realm, place_of
from pik.planning.iam.roles import FUNCTIONS, SENDS, Role, policy
from pik.planning.iam.statements import MANAGED_SIZE, Policy

Named = CaptureStream | ReplayJob | AggregateVersion


class Form(StrEnum):
    JSON = "json"
    YAML = "yaml"


@click.command("iam")
@click.argument("role", type=OneOf(Role))
@click.argument("streams", nargs=-1)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="File, or folder, with manifests of CaptureStreams, of ReplayJobs for their targets, and of "
    "AggregateVersions for the work groups of those that Athena computes; may be given again.",
)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="REPLAYJOB",
    help="A ReplayJob, for its targets; may be given again.",
)
@click.option(
    "--cluster",
    envvar="PIK_CLUSTER",
    show_envvar=True,
    metavar="NAME",
    help="The cluster's name in owner records, which names of buckets derive from.",
)
@click.option("--partition", default="aws", show_default=True, help="Of ARNs: aws, aws-cn, aws-us-gov.")
@click.option("--region", default="*", show_default="any", help="Of ARNs, where a stream names none.")
@click.option("--account", default="*", show_default="any", help="Of ARNs: 12 digits.")
@click.option(
    "--deletion",
    is_flag=True,
    help="With what deletionPolicy Delete takes, where no stream is named. Default: as the streams say.",
)
@click.option("-o", "--output", type=OneOf(Form), default=Form.JSON, show_default="json")
@where_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    place: Where,
    role: Role,
    streams: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: tuple[str, ...],
    cluster: str | None,
    partition: str,
    region: str,
    account: str,
    deletion: bool,
    output: Form,
) -> None:
    """The IAM policy of a part of pik, with the rights that its calls take and no others.

    ROLE is operator, gateway, worker (of a ReplayJob), aggregate (worker of an AggregateVersion), a Lambda
    function (ingest, replay, processor), or tenant (what a stream's roleARN names). STREAMS are
    CaptureStreams that are there already; others are given by -f. Without any it is for all streams whose
    names pik makes.
    """
    named = _of_files(files)
    if streams or jobs:
        named += asyncio.run(_there(ctx, place, streams, jobs))
    places = [place_of(one, cluster) for one in named if isinstance(one, CaptureStream)]
    made = policy(
        role,
        places or [Place(locks=True, deletes=deletion)],
        [one for one in named if isinstance(one, ReplayJob)],
        Realm(partition, region, account),
        sorted(filter(None, {work_group_of(one) for one in named if isinstance(one, AggregateVersion)})),
    )
    _tell(made, role, named)
    _show(made, output)


def _of_files(files: Sequence[Path]) -> list[Named]:
    """Raises `NotAdmitted`."""
    found: list[Named] = []
    for path in files:
        try:
            for manifest in load_path(path):
                resource = admit(manifest.value).resource
                if isinstance(resource, Named):
                    found.append(resource)
        except (UnreadableManifest, InvalidManifest) as error:
            raise NotAdmitted(f"{path}: {error}") from error
    return found


async def _there(
    ctx: click.Context, place: Where, streams: Sequence[str], jobs: Sequence[str]
) -> list[Named]:
    """Raises `NoSuchResource`."""
    connect = ctx.obj.shelf if isinstance(ctx.obj, Doors) else shelf_at
    async with connect(place) as shelf:
        return [
            *[(await find(shelf, CaptureStream, name)).read(CaptureStream) for name in streams],
            *[(await find(shelf, ReplayJob, name)).read(ReplayJob) for name in jobs],
        ]


def _tell(made: Policy, role: Role, named: Sequence[Named]) -> None:
    """What whoever attaches it should know."""
    if role in SENDS and not any(isinstance(one, ReplayJob) for one in named):
        click.echo("no target is in it: give ReplayJobs by -f or --job", err=True)
    if role in FUNCTIONS and not any(isinstance(one, CaptureStream) for one in named):
        click.echo("no source and no queue is in it: give CaptureStreams", err=True)
    if made.size > MANAGED_SIZE:
        click.echo(
            f"{made.size:,} characters, and a managed policy has at most {MANAGED_SIZE:,}: make several, "
            "for some of the streams each",
            err=True,
        )


def _show(made: Policy, output: Form) -> None:
    match output:
        case Form.JSON:
            click.echo(json.dumps(made.document, indent=2))
        case Form.YAML:
            click.echo(yaml.safe_dump(made.document, sort_keys=False), nl=False)
