"""`pik version`"""

from __future__ import annotations

import platform
from importlib.metadata import version

import click

from pik.cli.output import Format, Table, output_option, show_table

_SHOWN = ("pipeline-investigation-kit", "duckdb", "pyarrow", "boto3")


@click.command("version")
@output_option
def command(output: Format) -> None:
    """The versions of pik and of what it works with."""
    rows = [(name, version(name)) for name in _SHOWN]
    show_table(Table.of(("package", "version"), [*rows, ("python", platform.python_version())]), output)
