"""Label selectors, held against what their words mean one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.api.labels import LabelSelector
from pik.planning.access import selects

KEYS, VALUES = st.sampled_from(["team", "stage", "example.com/tier"]), st.sampled_from(["", "data", "web"])
LABELS = st.dictionaries(KEYS, VALUES)
REQUIREMENTS = st.one_of(
    st.fixed_dictionaries(
        {
            "key": KEYS,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(VALUES, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(KEYS, VALUES, min_size=1),
        "matchExpressions": st.lists(REQUIREMENTS, min_size=1, max_size=4),
    },
)


def as_a_list(selector: dict[str, object]) -> list[tuple[str, bool, set[str] | None]]:
    """A selector as simple sentences: of this key, whether a label is wanted, and among which values (None:
    any)."""
    equal = selector.get("matchLabels", {})
    found: list[tuple[str, bool, set[str] | None]] = [(key, True, {value}) for key, value in equal.items()]  # type: ignore[attr-defined]
    for one in selector.get("matchExpressions", ()):  # type: ignore[attr-defined]
        wanted = one["operator"] in ("In", "Exists")
        found.append((one["key"], wanted, set(one["values"]) if "values" in one else None))
    return found


@given(SELECTORS, LABELS)
def test_all_of_it_has_to_be_met(selector: dict[str, object], labels: dict[str, str]) -> None:
    met = True
    for key, wanted, values in as_a_list(selector):
        there = key in labels and (values is None or labels[key] in values)
        met = met and there == wanted
    assert selects(LabelSelector.model_validate(selector), labels) == met


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"matchLabels": {"team": "data"}}, True),
        ({"matchLabels": {"team": "data", "stage": "prod"}}, False),
        ({"matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["prod"]}]}, True),
        ({"matchExpressions": [{"key": "stage", "operator": "In", "values": ["prod"]}]}, False),
        ({"matchExpressions": [{"key": "stage", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
    ],
)
def test_a_namespace_of_one_team(selector: dict[str, object], selected: bool) -> None:
    assert selects(LabelSelector.model_validate(selector), {"team": "data"}) == selected
