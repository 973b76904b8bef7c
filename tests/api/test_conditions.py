"""Conditions: how they are set, and the words they are made of."""

from __future__ import annotations

import re

import pytest

from pik.api.common import StatusCondition
from pik.api.conditions import (
    ONLY_WHEN_TRUE,
    REASONS,
    ConditionType,
    Reason,
    condition_of,
    is_true,
    with_condition,
    without_condition,
)
from pik.api.kinds import KINDS
from pik.domain.instants import Instant, parse_instant

EARLIER = parse_instant("2013-07-10T04:00:00.999999Z")
LATER = parse_instant("2013-07-10T05:00:00Z")


def ready(
    status: bool | None,
    reason: Reason,
    now: Instant,
    before: tuple[StatusCondition, ...] = (),
    generation: int = 1,
) -> tuple[StatusCondition, ...]:
    return with_condition(
        before, ConditionType.READY, status, reason, "because", generation=generation, now=now
    )


def test_a_condition_is_set_with_all_that_kubernetes_asks_for() -> None:
    (condition,) = ready(False, Reason.PROVISIONING, EARLIER)
    assert condition.to_manifest() == {
        "type": "Ready",
        "status": "False",
        "observedGeneration": 1,
        "lastTransitionTime": "2013-07-10T04:00:00Z",
        "reason": "Provisioning",
        "message": "because",
    }


def test_the_transition_time_moves_only_when_the_status_does() -> None:
    first = ready(False, Reason.PROVISIONING, EARLIER)
    same = ready(False, Reason.AWS_UNAVAILABLE, LATER, first, generation=2)
    assert same[0].lastTransitionTime == first[0].lastTransitionTime
    assert (same[0].reason, same[0].observedGeneration) == ("AWSUnavailable", 2)
    changed = ready(True, Reason.PROVISIONED, LATER, same)
    assert changed[0].lastTransitionTime == "2013-07-10T05:00:00Z"
    unknown = ready(None, Reason.UNKNOWN, EARLIER, changed)
    assert (unknown[0].status, unknown[0].lastTransitionTime) == ("Unknown", "2013-07-10T04:00:00Z")


@pytest.mark.parametrize("kind", sorted(ONLY_WHEN_TRUE))
def test_some_types_are_true_or_absent(kind: ConditionType) -> None:
    def set_to(status: bool | None, before: tuple[StatusCondition, ...]) -> tuple[StatusCondition, ...]:
        return with_condition(before, kind, status, Reason.SUSPENDED, "", generation=1, now=EARLIER)

    present = set_to(True, ())
    assert is_true(present, kind)
    assert set_to(False, present) == ()
    with pytest.raises(ValueError, match="never Unknown"):
        set_to(None, present)


def test_types_stand_once_and_in_a_fixed_order() -> None:
    conditions: tuple[StatusCondition, ...] = ()
    for kind in (ConditionType.FAILED, ConditionType.READY, ConditionType.PLANNED, ConditionType.READY):
        conditions = with_condition(conditions, kind, True, Reason.PLANNED, "", generation=1, now=EARLIER)
    assert [condition.type for condition in conditions] == ["Ready", "Planned", "Failed"]
    assert condition_of(conditions, ConditionType.APPROVED) is None
    assert not is_true(conditions, ConditionType.APPROVED)
    assert [c.type for c in without_condition(conditions, ConditionType.READY)] == ["Planned", "Failed"]


def test_a_long_message_is_cut_to_what_the_schema_takes() -> None:
    (condition,) = with_condition(
        (), ConditionType.READY, True, Reason.PROVISIONED, "x" * 40_000, generation=1, now=EARLIER
    )
    assert len(condition.message) == 32_768


def test_every_kind_type_and_reason_is_documented_and_used() -> None:
    assert set(REASONS) == set(KINDS)
    types = {kind for by_type in REASONS.values() for kind in by_type}
    reasons = {reason for by_type in REASONS.values() for some in by_type.values() for reason in some}
    assert types == set(ConditionType)
    assert reasons == set(Reason)
    for by_type in REASONS.values():
        for some in by_type.values():
            assert len(some) == len(set(some))


@pytest.mark.parametrize("word", [*ConditionType, *Reason])
def test_every_word_is_camel_case_and_has_its_sentence(word: ConditionType | Reason) -> None:
    assert re.fullmatch("[A-Z][A-Za-z]*", word)
    assert len(word) <= 64
    assert re.fullmatch(r"[A-Za-z].*\.", word.meaning)


def test_a_replay_that_waits_for_a_person_says_so_in_complete_alone() -> None:
    of_replay = REASONS["ReplayJob"]
    for reason in (Reason.PLANNED, Reason.AWAITING_APPROVAL, Reason.SUSPENDED):
        assert reason in of_replay[ConditionType.COMPLETE]
        for kind in (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED):
            assert reason not in of_replay[kind]
