"""`pik gateway`"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click

from pik.aws.clients import AwsAccess
from pik.cli.collecting import spare_collector
from pik.cli.parameters import max_wait_option
from pik.cli.processes import process, role_map
from pik.cluster.api import configuration
from pik.cluster.gateway import GatewaySettings, gateway_process
from pik.gateway.server import Certificate

log = logging.getLogger(__name__)


@click.command("gateway")
@click.option(
    "--cluster",
    envvar="PIK_CLUSTER",
    show_envvar=True,
    required=True,
    metavar="NAME",
    help="Name of this cluster in the owner records of buckets, as the operator has it.",
)
@click.option(
    "--watch-namespaces",
    envvar="PIK_WATCH_NAMESPACES",
    show_envvar=True,
    default="",
    metavar="A,B",
    help="Namespaces whose streams are served. Default: all.",
)
@click.option(
    "--port",
    envvar="PIK_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    default=8081,
    show_default=True,
    help="Port that events come to; 0 takes a free one.",
)
@click.option(
    "--audience",
    envvar="PIK_AUDIENCE",
    show_envvar=True,
    default="pik",
    show_default=True,
    help="That tokens of ServiceAccounts have to be for.",
)
@click.option(
    "--tokens",
    envvar="PIK_TOKENS",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/run/secrets/pik.dev/tokens"),
    show_default=True,
    help="Directory of mounted tokens: NAMESPACE/SECRET/token.",
)
@click.option(
    "--tls-certificate",
    envvar="PIK_TLS_CERTIFICATE",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file of the certificate and those that signed it. Default: plain HTTP.",
)
@click.option(
    "--tls-key",
    envvar="PIK_TLS_KEY",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file of the certificate's private key.",
)
@click.option(
    "--held-mib",
    envvar="PIK_HELD_MIB",
    show_envvar=True,
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Most MiB of requests under way; what would be more is answered 429. The process takes several "
    "times that.",
)
@max_wait_option
@click.option(
    "--drain",
    envvar="PIK_DRAIN",
    show_envvar=True,
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Seconds after SIGTERM for which requests are still taken, while /readyz says 503.",
)
@click.option(
    "--grace",
    envvar="PIK_GRACE",
    show_envvar=True,
    type=click.FloatRange(min=1),
    default=15.0,
    show_default=True,
    help="Seconds that requests under way get then, and once more what was taken to be written.",
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
@role_map
@process
def command(
    *,
    cluster: str,
    watch_namespaces: str,
    host: str,
    port: int,
    metrics_port: int | None,
    audience: str,
    tokens: Path,
    tls_certificate: Path | None,
    tls_key: Path | None,
    held_mib: int,
    max_wait: float,
    drain: float,
    grace: float,
    endpoint_url: str | None,
    kubeconfig: Path | None,
    context: str | None,
    role_map: Path | None,
) -> None:
    """Take the events of a Kubernetes cluster's CaptureStreams over HTTP.

    Replicas work side by side. SIGTERM ends it when requests under way are answered and what was taken is
    written.
    """
    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("--tls-certificate and --tls-key belong together")
    settings = GatewaySettings(
        cluster=cluster,
        watch=tuple(name.strip() for name in watch_namespaces.split(",") if name.strip()),
        host=host,
        port=port,
        metrics_port=metrics_port,
        certificate=Certificate(tls_certificate, tls_key) if tls_certificate and tls_key else None,
        audience=audience,
        tokens=tokens,
        roles=role_map,
        held_bytes=held_mib * 1024 * 1024,
        max_wait=max_wait,
        drain=drain,
        grace=grace,
    )
    access = AwsAccess(endpoint_url=endpoint_url)
    asyncio.run(_until_signalled(settings, access, kubeconfig, context))


async def _until_signalled(
    settings: GatewaySettings, access: AwsAccess, kubeconfig: Path | None, context: str | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with gateway_process(configuration(kubeconfig, context), access, settings) as made:
        log.info("events come to %s, health and metrics are at %s", made.url, made.health or "no address")
        spare_collector()
        running, stopped = asyncio.create_task(made.run()), asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("told to end: requests are taken for %.0f s more", settings.drain)
            await made.drain()
        stopped.cancel()
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            return
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
