"""Where a command looks: at a folder that `pik up` reconciles, or at a cluster.

The rule, which `pik --help` says too:

1. What the command line names: `-C` a folder; `-n`, `-A`, `--context` or `--kubeconfig` a cluster.
2. What the environment names: `PIK_DIR` a folder, `PIK_CONTEXT` a cluster.
3. The current folder where `pik up` has worked on it, else the cluster that the kubeconfig (or pod) names.

Naming both in one of them is refused. Where the third had both to choose from, the choice is said on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

DIRECTORY_ENV = "PIK_DIR"
CONTEXT_ENV = "PIK_CONTEXT"

_META = "pik.where"  # where a context's `meta` has what was named before the command
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class InFolder:
    """The folder that `pik up` reconciles."""

    directory: Path

    def __str__(self) -> str:
        return f"the folder {self.directory}"


@dataclass(frozen=True, slots=True)
class InCluster:
    """`kubeconfig` None: the pod's own service account. `context` None: the kubeconfig's current one.
    `namespace` None: that of the context. `everywhere`: all namespaces."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    everywhere: bool = False

    def __str__(self) -> str:
        return "the cluster of the kubeconfig" if self.context is None else f"the cluster of {self.context}"


Where = InFolder | InCluster


class Named(NamedTuple):
    """What the options say; None: nothing."""

    directory: Path | None = None
    namespace: str | None = None
    everywhere: bool = False
    context: str | None = None
    kubeconfig: Path | None = None

    @property
    def cluster(self) -> bool:
        return self.everywhere or any(
            named is not None for named in (self.namespace, self.context, self.kubeconfig)
        )

    def over(self, farther: Named) -> Named:
        """The nearer counts: what stands after the command, over what stands before it."""
        return Named(
            farther.directory if self.directory is None else self.directory,
            # `-A` and `-n` say the same thing, so that the nearer of them counts
            self.namespace if self.everywhere or self.namespace is not None else farther.namespace,
            self.everywhere or (farther.everywhere and self.namespace is None),
            farther.context if self.context is None else self.context,
            farther.kubeconfig if self.kubeconfig is None else self.kubeconfig,
        )


def decide(
    named: Named, environ: Mapping[str, str], *, is_folder: Callable[[Path], bool], home: Path
) -> tuple[Where, str]:
    """Where, and what is to be said about it (nothing where it was named). Raises `click.UsageError` where
    both were. `is_folder`: whether `pik up` has worked on it. `home`: the person's home directory."""
    if named.namespace is not None and named.everywhere:
        raise click.UsageError("-n is one namespace and -A all of them: give one")
    if named.cluster and named.directory is not None:
        raise click.UsageError("-C is a folder; -n, -A, --context and --kubeconfig are of a cluster: which?")
    if named.directory is not None:
        return InFolder(named.directory), ""
    kubeconfig = named.kubeconfig or _kubeconfig(environ, home)
    directory, context = environ.get(DIRECTORY_ENV), environ.get(CONTEXT_ENV)
    cluster = InCluster(kubeconfig, named.context or context, named.namespace, named.everywhere)
    if named.cluster:
        return cluster, ""
    if directory and context:
        raise click.UsageError(
            f"{DIRECTORY_ENV} is a folder, and {CONTEXT_ENV} of a cluster: which? Give -C or -n"
        )
    if directory:
        return InFolder(Path(directory)), ""
    if context:
        return cluster, ""
    current = Path()
    there = kubeconfig is not None or _is_in_a_pod(environ)
    if is_folder(current):
        told = "looking at the current folder, where `pik up` has worked; -n NAMESPACE is for the cluster"
        return InFolder(current), told if there else ""
    return (cluster, "") if there else (InFolder(current), "")


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where; passes `place`."""

    @_options(hidden=True)
    @click.pass_context
    @wraps(command)
    def decided(ctx: click.Context, /, **given: Any) -> Any:
        return command(place=resolved(ctx, _taken(given)), **given)

    return decided


def global_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them before the command, where they count for whatever command follows."""

    @_options(hidden=False)
    @click.pass_context
    @wraps(command)
    def noted(ctx: click.Context, /, **given: Any) -> Any:
        ctx.meta[_META] = _taken(given)
        return command(**given)

    return noted


def resolved(ctx: click.Context, nearer: Named) -> Where:
    """Raises `click.UsageError`."""
    named = nearer.over(ctx.meta.get(_META, Named()))
    where, told = decide(named, os.environ, is_folder=_is_folder, home=Path.home())
    if told:
        click.echo(told, err=True)
    return where


def refuse_places(ctx: click.Context) -> None:
    """For a command that looks at no place, or names its own. Raises `click.UsageError` where one was named
    before it."""
    if ctx.meta.get(_META, Named()) != Named():
        raise click.UsageError(
            f"{ctx.invoked_subcommand} takes no -C, -n, -A, --context or --kubeconfig before it"
        )


def _options(*, hidden: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    options = [
        click.option(
            "-C",
            "--dir",
            "directory",
            type=click.Path(path_type=Path, file_okay=False),
            help=f"Folder that `pik up` reconciles, or {DIRECTORY_ENV}.",
        ),
        click.option(
            "-n",
            "--namespace",
            help="Namespace of a cluster. Default: that of the context.",
            hidden=hidden,
        ),
        click.option(
            "-A",
            "--all-namespaces",
            "everywhere",
            is_flag=True,
            help="All namespaces of a cluster.",
            hidden=hidden,
        ),
        click.option(
            "--context",
            help=f"Context of the kubeconfig, or {CONTEXT_ENV}. Default: its current one.",
            hidden=hidden,
        ),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Default: KUBECONFIG, or ~/.kube/config.",
            hidden=hidden,
        ),
    ]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _taken(given: dict[str, Any]) -> Named:
    """The options' values, taken out of all that was given."""
    return Named(*(given.pop(field) for field in Named._fields))


def _kubeconfig(environ: Mapping[str, str], home: Path) -> Path | None:
    """As kubectl finds it. `KUBECONFIG` may list several files, which the client merges."""
    named = environ.get("KUBECONFIG")
    if named:
        return Path(named)
    default = home / ".kube" / "config"
    return default if default.is_file() else None


def _is_in_a_pod(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (_SERVICE_ACCOUNT / "token").is_file()


def _is_folder(directory: Path) -> bool:
    from pik.local.state import STATE

    return (directory / STATE).is_dir()
