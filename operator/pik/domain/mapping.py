"""How rows of another form become events (design: section 3, mapping).

A row is looked up by paths. In JSON a path is names separated by dots; a column or field whose whole name is
the path comes first, so that a flat row may have dots in its names. Empty is what is absent, null or the
empty string; a CSV reader may declare further texts (`NA`) to be null.

Numbers and booleans are taken as they are written: `1545` and `1545.0` are two texts. Arrays and objects are
no ids. A value that is there but wrong (a time without an offset) rejects the row: only what is empty falls
back to the next path, so that a fault at the source cannot pass as another field's value.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pik.domain.identity import join_escaped
from pik.domain.json_text import Fields, read_object, text_of
from pik.domain.payloads import NotAnEvent, Reason

Lookup = Callable[[str], str | None]
"""The text at a path of a row, None where it is empty. Raises `NotAnEvent` for an array or object."""


class TextRule(msgspec.Struct, frozen=True):
    """A text: the first of `paths` that is not empty, then the `join` of paths if none of them is, then
    `value`."""

    paths: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    separator: str = "/"
    value: str | None = None

    def text(self, lookup: Lookup) -> str | None:
        for path in self.paths:
            found = lookup(path)
            if found is not None:
                return found
        if self.join:
            parts = [part for part in map(lookup, self.join) if part is not None]
            if len(parts) == len(self.join):
                return join_escaped(parts, self.separator)
        return self.value

    def can_give(self, columns: frozenset[str]) -> bool:
        """Whether a row of these columns can give anything."""
        return (
            self.value is not None
            or any(path in columns for path in self.paths)
            or (bool(self.join) and columns.issuperset(self.join))
        )


class Mapping(msgspec.Struct, frozen=True):
    """Where an event's fields lie in a row. The first four are given together or not at all; without them the
    rest is looked up in the payload of events in pik's own form and of CloudEvents."""

    entity_id: TextRule | None = None
    event_time: TextRule | None = None
    event_type: TextRule | None = None
    source: TextRule | None = None
    idempotency_key: TextRule | None = None
    received_time: TextRule | None = None

    @property
    def takes_rows(self) -> bool:
        """Whether rows of another form become events by it."""
        return self.entity_id is not None

    def missing(self, columns: frozenset[str]) -> list[str]:
        """The required fields that no row of these columns can have."""
        required = {
            "entityID": self.entity_id,
            "eventTime": self.event_time,
            "eventType": self.event_type,
            "source": self.source,
        }
        return [name for name, rule in required.items() if rule is None or not rule.can_give(columns)]


def json_lookup(row: Fields) -> Lookup:
    """Looks up paths in a JSON object."""

    def lookup(path: str) -> str | None:
        raw = row.get(path)
        if raw is None and "." in path:
            raw = _descend(row, path.split("."))
        if raw is None:
            return None
        text = bytes(raw)
        first = text[:1]
        if first == b'"':
            return text_of(raw, path) or None
        if first in (b"{", b"["):
            raise NotAnEvent(Reason.WRONG_TYPE, f"{path} must be a string, number or boolean to be mapped")
        return None if text == b"null" else text.decode()

    return lookup


def payload_lookup(payload: bytes) -> Lookup:
    """Looks up paths in a payload; there are none in one that is not an object."""
    return json_lookup(read_object(payload, "the payload") if payload.startswith(b"{") else {})


def _descend(row: Fields, path: list[str]) -> msgspec.Raw | None:
    fields = row
    for name in path[:-1]:
        raw = fields.get(name)
        if raw is None or not bytes(raw).startswith(b"{"):
            return None
        fields = read_object(raw, name)
    return fields.get(path[-1])
