"""What an aggregate asks, apart from when: its definition, and the hashes that name its versions."""

from __future__ import annotations

from hashlib import sha256
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import rfc8785

from pik.api.aggregate_version import AggregateVersionSpec, TimeBucket
from pik.domain.errors import InvalidDefinition
from pik.domain.instants import parse_instant
from pik.domain.windows import Window

SEMANTICS_VERSION = 1
"""Of what expressions, buckets and rounding mean: raised with every change that can give other rows."""


class WindowText(msgspec.Struct, frozen=True):
    """A window of event time by its ends in fixed width."""

    from_: str = msgspec.field(name="from")
    to: str


class Measure(msgspec.Struct, frozen=True):
    name: str  # of the result's column
    expression: str


class Definition(msgspec.Struct, frozen=True):
    """What determines an aggregate's rows together with the events that go into it. As JSON it is what the
    definition hash is taken of."""

    stream_id: str = msgspec.field(name="streamID")
    window: WindowText
    timezone: str  # IANA name
    bucket: TimeBucket
    group_by: tuple[str, ...] = msgspec.field(name="groupBy")
    measures: tuple[Measure, ...]
    where: str | None
    semantics: int = SEMANTICS_VERSION

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the RFC 8785 form (design: Definitions, definition hash)."""
        return sha256(rfc8785.dumps(msgspec.to_builtins(self))).hexdigest()

    @property
    def span(self) -> Window:
        return Window(parse_instant(self.window.from_), parse_instant(self.window.to))

    @property
    def zone(self) -> ZoneInfo:
        """Raises InvalidDefinition where there is no such time zone."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidDefinition(
                f"timezone: there is no {self.timezone!r} in the IANA database"
            ) from error


def definition_of(spec: AggregateVersionSpec, stream_id: str) -> Definition:
    """The definition in an admitted spec."""
    return Definition(
        stream_id=stream_id,
        window=WindowText(parse_instant(spec.window.from_).text, parse_instant(spec.window.to).text),
        timezone=spec.timezone,
        bucket=spec.bucket,
        group_by=spec.groupBy or (),
        measures=tuple(Measure(measure.name, measure.expression) for measure in spec.measures),
        where=spec.where,
    )


def version_of(definition_hash: str, inputs_hash: str) -> str:
    """The name of an answer: SHA-256 (hex) over the two hashes (hex), one after the other."""
    return sha256((definition_hash + inputs_hash).encode()).hexdigest()
