"""`pik operator`"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import click

from pik.aws.clients import AwsAccess
from pik.cli.allocating import keep_little
from pik.cli.parameters import functions_option
from pik.cli.processes import forbidden, process, role_map
from pik.cluster.api import configuration
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.operator import operator
from pik.cluster.settings import TIMING, Executor, OperatorSettings
from pik.controller.world import Callers
from pik.planning.replay.addresses import ForbiddenNetwork


@click.command("operator")
@click.option(
    "--cluster",
    envvar="PIK_CLUSTER",
    show_envvar=True,
    required=True,
    metavar="NAME",
    help="Name of this cluster in the owner records of buckets. Keep it for the cluster's life.",
)
@click.option(
    "--namespace",
    envvar="PIK_NAMESPACE",
    show_envvar=True,
    default="default",
    show_default=True,
    help="The operator's own namespace, where its Lease is.",
)
@click.option(
    "--watch-namespaces",
    envvar="PIK_WATCH_NAMESPACES",
    show_envvar=True,
    default="",
    metavar="A,B",
    help="Namespaces whose objects are reconciled. Default: all.",
)
@click.option(
    "--gateway-url",
    envvar="PIK_GATEWAY_URL",
    show_envvar=True,
    metavar="URL",
    help="Base URL of the gateway that takes the streams' events.",
)
@click.option(
    "--gateway-health-url",
    envvar="PIK_GATEWAY_HEALTH_URL",
    show_envvar=True,
    metavar="URL",
    help="Base URL of the gateway's health, where it is not that of its events, as behind an Ingress.",
)
@click.option(
    "--gateway-reviews/--no-gateway-reviews",
    envvar="PIK_GATEWAY_REVIEWS",
    show_envvar=True,
    default=True,
    show_default=True,
    help="Whether the gateway may ask the API server who sends (ingest.auth.type TokenReview).",
)
@click.option(
    "--gateway-tokens",
    envvar="PIK_GATEWAY_TOKENS",
    show_envvar=True,
    default="",
    metavar="NAMESPACE/SECRET,…",
    help="The Secrets whose tokens are mounted into the gateway (ingest.auth.type Token).",
)
@click.option(
    "--memory",
    envvar="PIK_MEMORY",
    show_envvar=True,
    metavar="SIZE",
    help="Memory for one plan, such as 512MB.",
)
@click.option(
    "--workers",
    envvar="PIK_WORKERS",
    show_envvar=True,
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Objects that are worked on at the same time.",
)
@click.option(
    "--executor",
    envvar="PIK_EXECUTOR",
    show_envvar=True,
    type=click.Choice([each.value for each in Executor]),
    default=Executor.IN_PROCESS.value,
    show_default=True,
    help="What runs replays and computes aggregates: pods of Jobs, or this very process.",
)
@click.option(
    "--image",
    envvar="PIK_IMAGE",
    show_envvar=True,
    metavar="IMAGE",
    help="Image of the pods of Jobs: that of this process. Needed with --executor Jobs.",
)
@click.option(
    "--image-pull-policy",
    envvar="PIK_IMAGE_PULL_POLICY",
    show_envvar=True,
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    help="When a node fetches that image. Default: as Kubernetes decides by its tag.",
)
@click.option(
    "--worker-memory",
    envvar="PIK_WORKER_MEMORY",
    show_envvar=True,
    default="512Mi",
    show_default=True,
    metavar="QUANTITY",
    help="Memory of the pod of a replay's shard, where a spec does not say.",
)
@click.option(
    "--aggregate-memory",
    envvar="PIK_AGGREGATE_MEMORY",
    show_envvar=True,
    default="1Gi",
    show_default=True,
    metavar="QUANTITY",
    help="Memory of the pod of an aggregate, where a spec does not say.",
)
@click.option(
    "--identity",
    envvar="PIK_POD",
    show_envvar=True,
    default=lambda: f"{socket.gethostname()}-{os.getpid()}",
    show_default="host name and process id",
    help="Name of this replica, such as its pod's: in the Lease and in events.",
)
@click.option(
    "--endpoint-url",
    envvar="AWS_ENDPOINT_URL",
    show_envvar=True,
    metavar="URL",
    help="An AWS emulator, instead of AWS.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Default: the pod's own service account, or KUBECONFIG.",
)
@click.option("--context", help="Context of the kubeconfig.")
@functions_option
@role_map
@forbidden
@click.option(
    "--deletion-timeout",
    envvar="PIK_DELETION_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(min=0),
    default=TIMING.deletion,
    show_default=True,
    metavar="SECONDS",
    help="How long the deletion of a stream's storage is tried before what is left of it stays.",
)
@process
def command(
    *,
    cluster: str,
    namespace: str,
    watch_namespaces: str,
    gateway_url: str | None,
    gateway_health_url: str | None,
    gateway_reviews: bool,
    gateway_tokens: str,
    memory: str | None,
    workers: int,
    executor: str,
    image: str | None,
    image_pull_policy: str | None,
    worker_memory: str,
    aggregate_memory: str,
    identity: str,
    endpoint_url: str | None,
    kubeconfig: Path | None,
    context: str | None,
    host: str,
    metrics_port: int | None,
    functions: Path | None,
    role_map: Path | None,
    deletion_timeout: float,
    forbidden: tuple[ForbiddenNetwork, ...],
) -> None:
    """Reconcile the CaptureStreams, ReplayJobs and AggregateVersions of a Kubernetes cluster.

    Replicas may run side by side: one leads. SIGTERM ends it when what is under way has come to a checkpoint.
    """
    keep_little()
    jobs = None
    if executor == Executor.JOBS:
        if image is None:
            raise click.UsageError("--executor Jobs needs --image")
        jobs = JobSettings(
            image,
            image_pull_policy,
            _environment(endpoint_url),
            memory=worker_memory,
            aggregate_memory=aggregate_memory,
        )
    settings = OperatorSettings(
        cluster=cluster,
        namespace=namespace,
        identity=identity,
        watch=tuple(sorted(_listed(watch_namespaces))),
        gateway=gateway_url.rstrip("/") if gateway_url else None,
        gateway_health=gateway_health_url.rstrip("/") if gateway_health_url else None,
        memory=memory,
        functions=functions,
        roles=role_map,
        forbidden=forbidden,
        callers=Callers(gateway_reviews, _listed(gateway_tokens)),
        timing=replace(TIMING, deletion=deletion_timeout),
        workers=workers,
        host=host,
        metrics_port=metrics_port,
        jobs=jobs,
    )
    access = AwsAccess(endpoint_url=endpoint_url)
    asyncio.run(_until_signalled(settings, access, kubeconfig, context))


def _listed(text: str) -> frozenset[str]:
    """Of a text with commas."""
    return frozenset(filter(None, (each.strip() for each in text.split(","))))


def _environment(endpoint_url: str | None) -> dict[str, str]:
    """What pods are told of AWS: where it is. Their credentials are their ServiceAccount's."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    found = {"AWS_REGION": region, "AWS_ENDPOINT_URL": endpoint_url}
    return {name: value for name, value in found.items() if value}


async def _until_signalled(
    settings: OperatorSettings, access: AwsAccess, kubeconfig: Path | None, context: str | None
) -> None:
    async with operator(configuration(kubeconfig, context), access, settings) as made:
        running = asyncio.ensure_future(made.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            return
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
