"""How rows of another form become events.

Paths are looked up in the row: names separated by dots, such as `payload.user.id`. For a stream whose events
come in pik's own form or as CloudEvents, the row is the event's payload, and what the event says itself
(an idempotency key, say) comes before what is mapped.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import ATOMIC, SET, FieldPath, Value
from pik.api.rules import Rule, rules

Paths = Annotated[tuple[FieldPath, ...], Field(min_length=1, max_length=8)]
_PATHS = "Paths into the row, in order of preference: the first that is present and not empty wins."


class Join(Value):
    """Several values as one text, such as `EWR/2013-11-03 01`."""

    paths: Paths = Field(
        description="Paths whose values are joined in this order. All of them must be present and not empty, "
        "else the join gives nothing.",
        json_schema_extra=ATOMIC,
    )
    separator: Annotated[str, StringConstraints(max_length=1, pattern=r"^[/|:;,._~#+-]$")] = Field(
        default="/",
        description="One character between the values. Where it occurs in a value it is escaped by "
        "a backslash, so that no two different rows give the same text.",
    )


class TextMapping(Value):
    """A text: the first of `paths`, then `join`, then `value` that gives something."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.paths) || has(self.join) || has(self.value)",
                "at least one of paths, join and value is required",
            )
        )
    )

    paths: Paths | None = Field(default=None, description=_PATHS, json_schema_extra=ATOMIC)
    join: Join | None = Field(default=None, description="Used where no path of `paths` gives a value.")
    value: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None, description="A fixed text, used where neither `paths` nor `join` gives a value."
    )


class KeyMapping(Value):
    """A key: the first of `paths`, then `join`, that gives something."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("has(self.paths) || has(self.join)", "at least one of paths and join is required")
        )
    )

    paths: Paths | None = Field(default=None, description=_PATHS, json_schema_extra=ATOMIC)
    join: Join | None = Field(default=None, description="Used where no path of `paths` gives a value.")


class TimeMapping(Value):
    """An instant: RFC 3339 text with an offset at the first of `paths` that is present and not empty."""

    paths: Paths = Field(
        description=_PATHS + " Its value is RFC 3339 text with an offset.", json_schema_extra=ATOMIC
    )


class FingerprintMapping(Value):
    exclude: Annotated[tuple[FieldPath, ...], Field(min_length=1, max_length=64)] = Field(
        description="Paths into the payload that may change when an event is sent again (a send time, say): "
        "they are left out when two payloads under one key are compared.",
        json_schema_extra=SET,
    )


class EventMapping(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.entityID) == has(self.eventTime) && has(self.entityID) == has(self.eventType)"
                " && has(self.entityID) == has(self.source)",
                "entityID, eventTime, eventType and source must be mapped together or not at all",
            )
        )
    )

    entityID: TextMapping | None = Field(default=None, description="What the event is about.")
    eventTime: TimeMapping | None = Field(default=None, description="When it happened.")
    eventType: TextMapping | None = Field(default=None, description="What happened.")
    source: TextMapping | None = Field(default=None, description="Which system says so.")
    idempotencyKey: KeyMapping | None = Field(
        default=None,
        description="What stays the same when the source sends the event again; unique within the source. "
        "Absent: an event is known by its content.",
    )
    receivedTime: TimeMapping | None = Field(
        default=None,
        description="When the source says that it saw the record: lateness of imported history is "
        "judged by it.",
    )
    fingerprint: FingerprintMapping | None = Field(
        default=None, description="What tells two payloads apart. Absent: every byte of the payload counts."
    )
