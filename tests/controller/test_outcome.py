"""From outcomes to conditions, requeue and events: one table, held against the documentation and kstatus."""

from __future__ import annotations

import pytest

from controller.clusters import kstatus
from pik.api.conditions import ONLY_WHEN_TRUE, REASONS, ConditionType, Reason, condition_of
from pik.api.kinds import KINDS, AnyResource
from pik.api.manifests import load_text
from pik.api.validation import admit
from pik.controller.outcome import (
    Backoff,
    Done,
    EventType,
    Outcome,
    Pass,
    Retry,
    Settlement,
    Stalled,
    Waiting,
    settle,
)
from pik.domain.instants import Instant, parse_instant

NOW = parse_instant("2026-03-01T12:00:00Z")
T = ConditionType

MANIFESTS = {
    "CaptureStream": "{kind: CaptureStream, spec: {storage: {prefix: p}}}",
    "ReplayJob": (
        "{kind: ReplayJob, spec: {streamRef: {name: s}, select: {window: {from: '2026-01-01T00:00:00Z',"
        " to: '2026-01-02T00:00:00Z'}}, target: {type: HTTP, http: {url: 'http://127.0.0.1:1/'}}}}"
    ),
    "AggregateVersion": (
        "{kind: AggregateVersion, spec: {streamRef: {name: s}, window: {from: '2026-01-01T00:00:00Z',"
        " to: '2026-01-02T00:00:00Z'}, bucket: Day, measures: [{name: total, expression: count(*)}]}}"
    ),
}
WAITS_FOR_A_PERSON = {Reason.PLANNED, Reason.AWAITING_APPROVAL, Reason.SUSPENDED}


def resource(kind: str, generation: int = 1) -> AnyResource:
    (manifest,) = load_text(MANIFESTS[kind])
    whole = {**manifest.value, "apiVersion": "pik.dev/v1alpha1", "metadata": {"name": "x"}}
    made = admit(whole).resource
    meta = made.metadata.model_copy(update={"generation": generation, "uid": "u"})
    return made.model_copy(update={"metadata": meta})


def settled(
    before: AnyResource, outcome: Outcome, *, failures: int = 0, now: Instant = NOW
) -> tuple[AnyResource, Settlement]:
    settlement = settle(
        before,
        Pass(before.status, outcome),
        failures=failures,
        part=0.5,
        backoff=Backoff(1.0, 60.0),
        now=now,
    )
    return before.model_copy(update={"status": settlement.status}), settlement


def conditions(after: AnyResource) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in after.status.conditions}


@pytest.mark.parametrize(
    ("kind", "outcome", "expected", "seen_by_kstatus"),
    [
        (
            "CaptureStream",
            Done(Reason.PROVISIONED),
            {"Ready": ("True", "Provisioned")},
            "Current",
        ),
        (
            "CaptureStream",
            Waiting(Reason.REINDEXING),
            {"Ready": ("False", "Reindexing"), "Reconciling": ("True", "Reindexing")},
            "InProgress",
        ),
        (
            "CaptureStream",
            Retry(Reason.AWS_UNAVAILABLE, "away"),
            {"Ready": ("False", "AWSUnavailable"), "Reconciling": ("True", "AWSUnavailable")},
            "InProgress",
        ),
        (
            "CaptureStream",
            Stalled(Reason.DATA_LOST, "gone"),
            {"Ready": ("False", "DataLost"), "Stalled": ("True", "DataLost")},
            "Failed",
        ),
        ("CaptureStream", Waiting(Reason.SUSPENDED), {"Ready": ("False", "Suspended")}, "InProgress"),
        (
            "ReplayJob",
            Done(Reason.SUCCEEDED),
            {"Ready": ("True", "Succeeded"), "Complete": ("True", "Succeeded")},
            "Current",
        ),
        # a person is waited for: nobody who waits for the object may time out
        ("ReplayJob", Waiting(Reason.PLANNED), {"Complete": ("False", "Planned")}, "Current"),
        (
            "ReplayJob",
            Waiting(Reason.AWAITING_APPROVAL),
            {"Complete": ("False", "AwaitingApproval")},
            "Current",
        ),
        (
            "ReplayJob",
            Waiting(Reason.SUSPENDED),
            {"Suspended": ("True", "Suspended"), "Complete": ("False", "Suspended")},
            "Current",
        ),
        (
            "ReplayJob",
            Waiting(Reason.RUNNING),
            {
                "Ready": ("False", "Running"),
                "Reconciling": ("True", "Running"),
                "Complete": ("False", "Running"),
            },
            "InProgress",
        ),
        (
            "ReplayJob",
            Stalled(Reason.TARGET_FAILED, "no"),
            {
                "Ready": ("False", "TargetFailed"),
                "Stalled": ("True", "TargetFailed"),
                "Complete": ("False", "TargetFailed"),
                "Failed": ("True", "TargetFailed"),
            },
            "Failed",
        ),
        (
            "ReplayJob",
            Stalled(Reason.POLICY_EXCEEDED, "too many"),
            {
                "Ready": ("False", "PolicyExceeded"),
                "Stalled": ("True", "PolicyExceeded"),
                "Complete": ("False", "PolicyExceeded"),
            },
            "Failed",
        ),
        (
            "AggregateVersion",
            Waiting(Reason.STREAM_NOT_FOUND),
            {
                "Ready": ("False", "StreamNotFound"),
                "Reconciling": ("True", "StreamNotFound"),
                "Complete": ("False", "StreamNotFound"),
            },
            "InProgress",
        ),
    ],
)
def test_table(
    kind: str, outcome: Outcome, expected: dict[str, tuple[str, str]], seen_by_kstatus: str
) -> None:
    after, _ = settled(resource(kind), outcome)
    assert conditions(after) == expected
    assert kstatus(after) == seen_by_kstatus


def outcomes(kind: str) -> list[Outcome]:
    """Every outcome that the documentation has a reason for."""
    documented = REASONS[kind]
    done = [*documented.get(T.COMPLETE, ()), *documented[T.READY]]
    return [
        *(Done(reason) for reason in {Reason.SUCCEEDED, Reason.PROVISIONED} & {*done}),
        *(Waiting(reason) for reason in documented[T.RECONCILING]),
        *(Waiting(reason) for reason in sorted(WAITS_FOR_A_PERSON & {*done})),
        *(Retry(reason, "again") for reason in documented[T.RECONCILING]),
        *(Stalled(reason, "no") for reason in documented[T.STALLED]),
    ]


CASES = [(kind, outcome) for kind in KINDS for outcome in outcomes(kind)]


@pytest.mark.parametrize(
    ("kind", "outcome"), CASES, ids=[f"{k}-{type(o).__name__}-{o.reason}" for k, o in CASES]
)
def test_laws_of_every_outcome(kind: str, outcome: Outcome) -> None:
    documented = REASONS[kind]
    after, settlement = settled(resource(kind, generation=3), outcome)
    found = conditions(after)
    for name, (status, reason) in found.items():
        assert reason in documented[T(name)]  # type: ignore[call-arg]
        assert status == "True" or name not in ONLY_WHEN_TRUE
    assert not {"Reconciling", "Stalled"} <= found.keys()
    assert (found.get("Ready", ("", ""))[0] == "True") == isinstance(outcome, Done)
    waits = outcome.reason in WAITS_FOR_A_PERSON
    assert ("Reconciling" in found) == (isinstance(outcome, Waiting | Retry) and not waits)
    assert (after.status.observedGeneration == 3) == ("Reconciling" not in found)
    assert all(one.observedGeneration == 3 for one in after.status.conditions)
    # the same once more changes nothing and tells nothing
    later = Instant(NOW.micros + 3_600_000_000)
    again, repeated = settled(after, outcome, now=later)
    assert again.status == after.status
    assert repeated.events == ()
    assert [event.reason for event in settlement.events] == [outcome.reason]


@pytest.mark.parametrize(("kind", "outcome"), CASES)
@pytest.mark.parametrize("then", [Done, Stalled])
def test_what_was_said_before_does_not_stay(kind: str, outcome: Outcome, then: type[Outcome]) -> None:
    """From any outcome to any other: the conditions are those of the other alone."""
    reason = {"CaptureStream": Reason.PROVISIONED}.get(kind, Reason.SUCCEEDED)
    last: Outcome = Done(reason) if then is Done else Stalled(Reason.AWS_REFUSED, "no")
    fresh, _ = settled(resource(kind), last)
    before, _ = settled(resource(kind), outcome)
    after, _ = settled(before, last)
    assert conditions(after) == conditions(fresh)


def test_a_transition_keeps_its_time_while_the_status_stays() -> None:
    later = Instant(NOW.micros + 60_000_000)
    waiting, _ = settled(resource("CaptureStream"), Waiting(Reason.PROVISIONING))
    other_reason, _ = settled(waiting, Waiting(Reason.REINDEXING), now=later)
    ready = condition_of(other_reason.status.conditions, T.READY)
    assert ready is not None
    assert (ready.reason, ready.lastTransitionTime) == ("Reindexing", "2026-03-01T12:00:00Z")
    done, _ = settled(other_reason, Done(Reason.PROVISIONED), now=later)
    ready = condition_of(done.status.conditions, T.READY)
    assert ready is not None
    assert ready.lastTransitionTime == "2026-03-01T12:01:00Z"


def test_a_reason_that_is_not_documented_is_refused() -> None:
    with pytest.raises(ValueError, match="not a documented reason"):
        settled(resource("CaptureStream"), Done(Reason.OUT_OF_MEMORY))


def test_when_to_look_again() -> None:
    job = resource("CaptureStream")

    def after(outcome: Outcome, failures: int = 0) -> float | None:
        return settled(job, outcome, failures=failures)[1].requeue_after

    assert after(Done(Reason.PROVISIONED)) is None
    assert after(Done(Reason.PROVISIONED, again=100)) == 100
    assert after(Waiting(Reason.REINDEXING, again=100)) == 95  # with half of its spread
    assert after(Waiting(Reason.REINDEXING)) is None
    assert after(Stalled(Reason.DATA_LOST, "gone")) is None
    assert after(Retry(Reason.AWS_UNAVAILABLE, "away", after=7.0)) == 7.0
    retry = Retry(Reason.AWS_UNAVAILABLE, "away")
    assert [after(retry, failures) for failures in (1, 2, 3, 20)] == [0.75, 1.5, 3.0, 45.0]


def test_what_stays_stalled_is_looked_at_ever_more_seldom() -> None:
    """As long as it has been so, between its own time and the longest wait."""
    stalled = Stalled(Reason.AWS_REFUSED, "no", again=10)
    before, _ = settled(resource("CaptureStream"), stalled)

    def after(seconds: float) -> float | None:
        now = Instant(NOW.micros + round(seconds * 1e6))
        return settled(before, stalled, now=now)[1].requeue_after

    assert [after(seconds) for seconds in (0, 10, 20, 40, 3_600)] == [9.5, 9.5, 19, 38, 57]


def test_backoff_grows_to_its_bound_and_spreads_over_its_second_half() -> None:
    backoff = Backoff(1.0, 300.0)
    waits = [backoff.wait(failures, part) for failures in range(1, 200) for part in (0.0, 1.0)]
    assert min(waits) == 0.5
    assert max(waits) == 300.0
    assert backoff.wait(3, 0.0) == 2.0
    assert backoff.wait(3, 1.0) == 4.0


def test_trouble_is_told_as_a_warning() -> None:
    _, trouble = settled(resource("CaptureStream"), Retry(Reason.AWS_UNAVAILABLE, "no route"))
    assert [(one.type, one.reason, one.message) for one in trouble.events] == [
        (EventType.WARNING, "AWSUnavailable", "no route")
    ]
    _, good = settled(resource("CaptureStream"), Done(Reason.PROVISIONED))
    assert [one.type for one in good.events] == [EventType.NORMAL]
