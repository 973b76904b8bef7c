"""Labels as Kubernetes has them, and what selects by them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import ATOMIC, Value
from pik.api.rules import Rule, rules

LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]

KEYS_ARE_LABELS = Rule(
    f"self.all(key, size(key) <= 317 && key.matches(r'{LABEL_KEY}'))",
    "keys must be label keys, such as team or example.com/team",
)
"""For a map of labels: a schema cannot say what the keys of a map look like."""


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.operator == 'In' || self.operator == 'NotIn') == has(self.values)",
                "values is required when operator is In or NotIn, and only then",
                "values",
            )
        )
    )

    key: LabelKey = Field(description="Key of the label.")
    operator: LabelOperator = Field(
        description="In: the label is there with one of `values`. NotIn: it is not there, or with none of "
        "them. Exists: it is there. DoesNotExist: it is not there."
    )
    values: Annotated[tuple[LabelValue, ...], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Values of the label. Only with In and NotIn.", json_schema_extra=ATOMIC
    )


class LabelSelector(Value):
    # metav1.LabelSelector, but for the empty one, which would select everything
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.matchLabels) || has(self.matchExpressions)",
                "at least one of matchLabels and matchExpressions is required",
            )
        )
    )

    matchLabels: Annotated[dict[str, LabelValue], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="Labels that have to be there with these values, all of them.",
        json_schema_extra=rules(KEYS_ARE_LABELS),
    )
    matchExpressions: Annotated[tuple[LabelRequirement, ...], Field(min_length=1, max_length=16)] | None = (
        Field(
            default=None,
            description="Requirements, all of which have to be met.",
            json_schema_extra=ATOMIC,
        )
    )
