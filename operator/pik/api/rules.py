"""Rules across fields, in CEL: written once beside the models, generated into the CRDs, and evaluated from
there by the API server and by pik.api.validation alike.

A rule sees the value that it is attached to as `self` and, on an update, the value before as `oldSelf`.
A rule that reads `oldSelf` is a transition rule: it does not apply to a value that is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

IMMUTABLE = "is immutable"


@dataclass(frozen=True, slots=True)
class Rule:
    """`rule` must be true, else `message` is said. `field`: the member of self that the message is about."""

    rule: str
    message: str
    field: str | None = None

    def as_schema(self) -> dict[str, str]:
        """One entry of x-kubernetes-validations."""
        entry = {"rule": self.rule, "message": self.message}
        return entry if self.field is None else {**entry, "fieldPath": f".{self.field}"}


def rules(*several: Rule | Sequence[Rule]) -> dict[str, Any]:
    """The rules as an extension of the schema of a model or a field."""
    flat = [rule for item in several for rule in ([item] if isinstance(item, Rule) else item)]
    return {"x-kubernetes-validations": [rule.as_schema() for rule in flat]}


@dataclass(frozen=True, slots=True)
class RuledBy:
    """Annotation of a type: every field of this type carries the rule."""

    rule: Rule

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), **rules(self.rule)}


def immutable(*fields: str) -> list[Rule]:
    """Fields that are always present (required, or with a default) and keep the value they were created with.

    The rules stand on the parent, as those of optional fields must.
    """
    return [Rule(f"self.{name} == oldSelf.{name}", IMMUTABLE, name) for name in fields]


def immutable_optional(*fields: str) -> list[Rule]:
    """Optional fields whose presence and value stay what they were at creation.

    On the field itself a rule would miss its removal and its addition: there is no self or no oldSelf then.
    """
    return [Rule(_same_optional("self", "oldSelf", name), IMMUTABLE, name) for name in fields]


def frozen(when: str, message: str, *fields: str) -> list[Rule]:
    """Fields under `spec` of the whole object that keep their value while `when` (over oldSelf) holds."""
    return [
        Rule(f"!({when}) || self.spec.{name} == oldSelf.spec.{name}", message, f"spec.{name}")
        for name in fields
    ]


def frozen_optional(when: str, message: str, *fields: str) -> list[Rule]:
    """As `frozen`, for optional fields: their presence is frozen too."""
    return [
        Rule(f"!({when}) || ({_same_optional('self.spec', 'oldSelf.spec', name)})", message, f"spec.{name}")
        for name in fields
    ]


def _same_optional(new: str, old: str, name: str) -> str:
    both = f"has({new}.{name}) == has({old}.{name})"
    return f"{both} && (!has({new}.{name}) || {new}.{name} == {old}.{name})"
