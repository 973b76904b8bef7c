"""What the long-running processes of a cluster have in common on the command line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from pik.cluster.logs import LogFormat, configure
from pik.domain.errors import PikError
from pik.planning.replay.addresses import ForbiddenNetwork, forbidden_networks

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger(__name__)

_OPTIONS = (
    click.option(
        "--host",
        envvar="PIK_HOST",
        show_envvar=True,
        default="0.0.0.0",  # noqa: S104 - of a pod
        show_default=True,
        help="Address to listen on.",
    ),
    click.option(
        "--metrics-port",
        envvar="PIK_METRICS_PORT",
        show_envvar=True,
        type=click.IntRange(0, 65535),
        help="Port of /metrics, /healthz and /readyz; 0 takes a free one. Default: they are not served.",
    ),
    click.option(
        "--log-format",
        envvar="PIK_LOG_FORMAT",
        show_envvar=True,
        type=click.Choice([each.value for each in LogFormat]),
        default=LogFormat.JSON.value,
        show_default=True,
        help="Form of the log on stderr.",
    ),
    click.option(
        "--log-level",
        envvar="PIK_LOG_LEVEL",
        show_envvar=True,
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="Least that pik's own code logs.",
    ),
)


role_map = click.option(
    "--role-map",
    envvar="PIK_ROLE_MAP",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The administrator's map of IAM roles to namespaces; read again when it changes. Default: no role "
    "is assumed.",
)


def _networks(_: click.Context, __: click.Parameter, text: str) -> tuple[ForbiddenNetwork, ...]:
    try:
        return forbidden_networks(text, "forbidden by the administrator")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


forbidden = click.option(
    "--forbidden-networks",
    "forbidden",
    envvar="PIK_FORBIDDEN_NETWORKS",
    show_envvar=True,
    default="",
    callback=_networks,
    metavar="CIDR,CIDR",
    help="Networks and addresses where no HTTP target of a replay may be.",
)


def process(command: F) -> F:
    """Options of every process, and its log: `log_format` and `log_level` are seen to here. An error that
    ends the process stands in its log."""

    @wraps(command)
    def logged(*arguments: Any, log_format: str, log_level: str, **options: Any) -> Any:
        configure(sys.stderr, LogFormat(log_format), logging.getLevelNamesMapping()[log_level.upper()])
        try:
            return command(*arguments, **options)
        except PikError as error:
            log.error("the process ends: %s: %s", type(error).__name__, error)  # noqa: TRY400 - no bug
            click.get_current_context().exit(1)

    for option in reversed(_OPTIONS):
        logged = option(logged)
    return logged  # type: ignore[return-value]
