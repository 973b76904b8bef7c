"""When `pik up --once` ends, and what it calls as it should be."""

from __future__ import annotations

import pytest

from pik.api.conditions import REASONS, ConditionType, Reason
from pik.api.replay_job import ReplayJob
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Done, Outcome, Retry, Stalled, Waiting
from pik.local.settled import is_as_it_should_be, is_moving, unfinished

JOB = ObjectKey("ReplayJob", "default", "job")
STREAM = ObjectKey("CaptureStream", "default", "things")


def job(mode: str) -> ReplayJob:
    return ReplayJob.from_manifest(
        {
            "metadata": {"name": "job"},
            "spec": {
                "mode": mode,
                "streamRef": {"name": "things"},
                "select": {"window": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}},
                "target": {"type": "HTTP", "http": {"url": "http://127.0.0.1:1/"}},
            },
        }
    )


@pytest.mark.parametrize(
    ("outcome", "moving"),
    [
        (None, True),
        (Waiting(Reason.RUNNING), True),
        (Waiting(Reason.PLANNING), True),
        (Waiting(Reason.TARGET_UNAVAILABLE), True),
        (Retry(Reason.AWS_UNAVAILABLE, "away"), True),
        (Waiting(Reason.STREAM_NOT_FOUND, on=STREAM), False),
        (Waiting(Reason.PLANNED), False),
        (Waiting(Reason.AWAITING_APPROVAL), False),
        (Waiting(Reason.SUSPENDED), False),
        (Stalled(Reason.POLICY_EXCEEDED, "no"), False),
        (Done(Reason.SUCCEEDED, again=30), False),
    ],
)
def test_what_goes_on_by_itself(outcome: Outcome | None, moving: bool) -> None:
    assert is_moving(JOB, outcome) is moving


@pytest.mark.parametrize(
    ("mode", "outcome", "good"),
    [
        ("DryRun", Waiting(Reason.PLANNED), True),
        ("DryRun", Waiting(Reason.STREAM_NOT_FOUND, on=STREAM), False),
        ("DryRun", Done(Reason.SUCCEEDED), True),
        ("Run", Waiting(Reason.PLANNED), False),
        ("Run", Waiting(Reason.AWAITING_APPROVAL), False),
        ("Run", Waiting(Reason.SUSPENDED), False),
        ("Run", Stalled(Reason.TARGET_FAILED, "no"), False),
        ("Run", Done(Reason.SUCCEEDED_WITH_FAILURES), True),
        ("Run", None, False),
    ],
)
def test_what_is_as_it_should_be(mode: str, outcome: Outcome | None, good: bool) -> None:
    assert is_as_it_should_be(job(mode), outcome) is good
    outcomes = {} if outcome is None else {JOB: outcome}
    assert (unfinished([(JOB, job(mode))], outcomes) == []) is good


@pytest.mark.parametrize("kind", REASONS)
def test_every_outcome_ends_or_goes_on(kind: str) -> None:
    """Nothing that waits for a person is taken for work, and no work for that."""
    key = ObjectKey(kind, "default", "x")
    people = {Reason.PLANNED, Reason.AWAITING_APPROVAL, Reason.SUSPENDED}
    for reason in REASONS[kind][ConditionType.RECONCILING]:
        assert is_moving(key, Waiting(reason))
        assert reason not in people
    for reason in people:
        assert not is_moving(key, Waiting(reason))
