"""Which namespaces a stream's owner lets refer to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pik.api.labels import LabelOperator, LabelRequirement, LabelSelector


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether something with these labels is selected: every label and every requirement has to be met."""
    wanted = selector.matchLabels or {}
    return wanted.items() <= labels.items() and all(
        _meets(requirement, labels) for requirement in selector.matchExpressions or ()
    )


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    values = requirement.values or ()
    match requirement.operator:
        case LabelOperator.IN:
            return value is not None and value in values
        case LabelOperator.NOT_IN:
            return value is None or value not in values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.DOES_NOT_EXIST:
            return value is None
