"""The `pik` command. Its help imports nothing but click: a command's module is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from pik.cli.where import global_options, refuse_places
from pik.domain.errors import PikError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT."""


class Entry(NamedTuple):
    """A command that has not been imported: its module under `pik.cli`, which has it as `command`."""

    module: str
    help: str


COMMANDS: dict[str, dict[str, Entry]] = {
    "Objects": {
        "up": Entry("up", "Reconcile a folder of manifests, and take events over HTTP."),
        "get": Entry("get", "Objects and their status, as kubectl would show them."),
        "describe": Entry("describe", "One object: what is wanted, what was observed, what happened."),
        "apply": Entry("apply", "Create or change objects beside the folder's own."),
        "approve": Entry("approve", "Approve the plan that a ReplayJob shows."),
        "suspend": Entry("suspend", "Hold an object: no events taken, nothing sent or computed."),
        "resume": Entry("resume", "Let an object go on that was held."),
        "delete": Entry("delete", "Delete an object that was applied."),
        "wait": Entry("wait", "Wait until an object has a condition."),
        "status": Entry("status", "Who is at work here, and how the objects are."),
    },
    "Feed": {
        "import": Entry("importing", "Capture the events of CSV, NDJSON and Parquet files."),
    },
    "Replay": {
        "replay": Entry("replay", "Write a ReplayJob for a slice of a stream, and apply it."),
    },
    "Look": {
        "inspect": Entry("inspections", "What is late, missing, repeated, contradictory or out of order."),
        "explain": Entry("explain", "All that is known of one event."),
        "diff": Entry("diff", "Why a number moved: two computed answers compared, event by event."),
        "estimate": Entry("estimate", "How many events a replay can have, by the manifest alone."),
        "runs": Entry("runs", "The replays of a stream that were begun, and how they ended."),
        "ledger": Entry("ledger", "What a replay did with each event, held against its plan."),
    },
    "Check and repair": {
        "reindex": Entry("reindex", "Rebuild a stream's index from raw data alone."),
        "verify": Entry("verify", "Hold raw data against seals, manifest, index and its own hashes."),
        "seal": Entry("seal", "Add what is new to the chain of seals."),
        "orphans": Entry("orphans", "Buckets and tables that no CaptureStream has any more."),
    },
    "In a cluster": {
        "operator": Entry("operator", "Reconcile the objects of a Kubernetes cluster."),
        "gateway": Entry("gateway", "Take the events of a cluster's streams over HTTP."),
        "worker": Entry("worker", "Do a part of a replay or an aggregate, as a pod of the operator."),
    },
    "pik itself": {
        "iam": Entry("iam", "The IAM policy of a part of pik: the rights that its calls take."),
        "version": Entry("version", "The versions of pik and of what it works with."),
    },
}
"""By section, as `pik --help` lists them. A command is added here, and as a module of this package."""

PLACELESS = frozenset({"up", "operator", "gateway", "worker", "version"})
"""Commands that look neither at a folder nor at a cluster, or that name it themselves."""

_EPILOG = """\b
Where:
  -C DIR, or PIK_DIR              the folder that `pik up DIR` reconciles
  -n, -A, --context, --kubeconfig, or PIK_CONTEXT
                                  a cluster, as kubectl finds it
  nothing of these                the current folder where `pik up` has worked on
                                  it, else the cluster of the kubeconfig
These options stand before the command or after it; what is typed counts before
the environment.

\b
Exit codes:
  0    done, and nothing is wrong
  1    an error, which stderr explains; or something is wrong in what was looked at
  2    the command was not understood
  130  interrupted by Ctrl-C
"""


class Pik(click.Group):
    """Imports a command when it is called, and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for section in COMMANDS.values():
            if cmd_name in section:
                command: click.Command = import_module(f"pik.cli.{section[cmd_name].module}").command
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.help) for name, entry in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PikError as error:
            click.echo(f"error: {one_line(str(error))}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Pik,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@global_options
@click.pass_context
def pik(ctx: click.Context) -> None:
    """Capture events, see what arrived and when, replay a slice, and compute aggregates as versions."""
    if ctx.invoked_subcommand in PLACELESS:
        refuse_places(ctx)


def one_line(text: str) -> str:
    return " ".join(text.split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and ends the process with its exit code."""
    try:
        pik.main(arguments, prog_name="pik")
    except BrokenPipeError:
        # the reader has seen enough, `| head` say; the interpreter must not flush into the pipe at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
