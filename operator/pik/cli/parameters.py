"""Values on the command line."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from pik.api.common import seconds_of
from pik.domain.instants import Instant, InvalidInstant, parse_instant
from pik.domain.windows import Window
from pik.execution.capture.settings import MAX_WAIT
from pik.execution.seals import SealHead, parse_head

E = TypeVar("E", bound=StrEnum)

_FIRST = Instant(-62_135_596_800_000_000)  # 0001-01-01T00:00:00Z
_LAST = Instant(253_402_300_799_999_999)


class InstantType(click.ParamType[Instant]):
    """An RFC 3339 instant."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Instant:
        if isinstance(value, Instant):
            return value
        try:
            return parse_instant(value)
        except InvalidInstant as error:
            self.fail(f"{value!r} is {error}", param, ctx)


class DurationType(click.ParamType[timedelta]):
    """Hours, minutes and seconds, such as `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(seconds=seconds_of(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OneOf(click.ParamType[E]):
    """A member of an enumeration by its value, as manifests have it, in any case."""

    name = "choice"

    def __init__(self, members: type[E]) -> None:
        self._members = members

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> E:
        for member in self._members:
            if value == member or str(value).lower() == member.value.lower():
                return member
        return self._unknown(value, param, ctx)

    def _unknown(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        self.fail(f"{value!r} is none of {', '.join(self._members)}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return f"[{'|'.join(self._members)}]"


class SealHeadType(click.ParamType[SealHead]):
    """A seal by its number and hash, as `pik verify` names the last one."""

    name = "seal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SealHead:
        if isinstance(value, SealHead):
            return value
        try:
            return parse_head(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


max_wait_option = click.option(
    "--max-wait",
    envvar="PIK_MAX_WAIT",
    show_envvar=True,
    type=click.FloatRange(min=0, min_open=True),
    default=MAX_WAIT,
    show_default=True,
    help="Seconds that an event may have to wait behind others to be written; what would wait longer is "
    "answered 429.",
)

functions_option = click.option(
    "--functions",
    envvar="PIK_FUNCTIONS",
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Packages of AWS Lambda functions, as `make lambdas` makes them. Default: there are none, and a "
    "stream that wants a function is refused.",
)

INSTANT = InstantType()
DURATION = DurationType()
LAST_SEAL = SealHeadType()


def window_of(start: Instant | None, end: Instant | None) -> Window | None:
    """`[from, to)`, open where nothing was said. Raises `click.UsageError` for one that is empty."""
    if start is None and end is None:
        return None
    try:
        return Window(start or _FIRST, end or _LAST)
    except ValueError as error:
        raise click.UsageError(f"--from and --to: {error}") from error
