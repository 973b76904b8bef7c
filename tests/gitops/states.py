"""Objects in every state that pik can leave them in, as an API server would give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pik.api.conditions import REASONS, ConditionType, Reason
from pik.api.kinds import AnyResource
from pik.api.manifests import load_text
from pik.api.validation import admit
from pik.controller.outcome import Backoff, Done, Outcome, Pass, Retry, Stalled, Waiting, settle
from pik.domain.instants import parse_instant

NOW = parse_instant("2026-03-01T12:00:00Z")
WINDOW = "{from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z'}"
SPECS = {
    "CaptureStream": "{storage: {prefix: p}}",
    "ReplayJob": (
        f"{{streamRef: {{name: s}}, select: {{window: {WINDOW}}},"
        " target: {type: HTTP, http: {url: 'http://127.0.0.1:1/'}}}"
    ),
    "AggregateVersion": (
        f"{{streamRef: {{name: s}}, window: {WINDOW}, bucket: Day,"
        " measures: [{name: total, expression: count(*)}]}"
    ),
}
PERSON = (Reason.PLANNED, Reason.AWAITING_APPROVAL, Reason.SUSPENDED)
DONE = (Reason.PROVISIONED, Reason.SUCCEEDED, Reason.SUCCEEDED_WITH_FAILURES)


class Meaning(Enum):
    """What the state means to somebody who waits for the object."""

    NEW = "nobody has looked at it"
    DONE = "it is as its spec wants it"
    MOVING = "it goes on by itself"
    HELD = "a person is waited for"
    STUCK = "only a change from outside helps"
    CHANGED = "its spec was changed after it was done"


@dataclass(frozen=True, slots=True)
class State:
    kind: str
    reason: Reason | None
    meaning: Meaning
    manifest: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}-{self.reason or 'None'}-{self.meaning.name}"


def states() -> Iterator[State]:
    """Each kind in each outcome that it has a documented reason for; new, and changed after it was done."""
    for kind, documented in REASONS.items():
        yield State(kind, None, Meaning.NEW, _manifest(_resource(kind)))
        for reason in dict.fromkeys(reason for reasons in documented.values() for reason in reasons):
            for outcome, meaning in _outcomes(reason, documented):
                after = _after(_resource(kind), outcome)
                yield State(kind, reason, meaning, _manifest(after))
                if meaning is Meaning.DONE:
                    changed = _manifest(after)
                    changed["metadata"]["generation"] += 1
                    yield State(kind, reason, Meaning.CHANGED, changed)


def _outcomes(reason: Reason, documented: Any) -> Iterator[tuple[Outcome, Meaning]]:
    if reason in documented[ConditionType.STALLED]:
        yield Stalled(reason, "it is so"), Meaning.STUCK
    if reason in documented[ConditionType.RECONCILING]:
        yield Waiting(reason), Meaning.MOVING
        yield Retry(reason, "it is so"), Meaning.MOVING
    if reason in PERSON:
        yield Waiting(reason), Meaning.HELD
    if reason in DONE:
        yield Done(reason), Meaning.DONE


def _resource(kind: str) -> AnyResource:
    (loaded,) = load_text(f"{{kind: {kind}, spec: {SPECS[kind]}}}")
    made = admit({**loaded.value, "apiVersion": "pik.dev/v1alpha1", "metadata": {"name": "x"}}).resource
    meta = made.metadata.model_copy(update={"generation": 1, "uid": "u", "namespace": "n"})
    return made.model_copy(update={"metadata": meta})


def _after(before: AnyResource, outcome: Outcome) -> AnyResource:
    settlement = settle(
        before, Pass(before.status, outcome), failures=1, part=0.5, backoff=Backoff(), now=NOW
    )
    return before.model_copy(update={"status": settlement.status})


def _manifest(resource: AnyResource) -> dict[str, Any]:
    status = resource.status.to_manifest()
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": resource.KIND,
        "metadata": resource.metadata.model_dump(exclude_none=True, mode="json"),
        "spec": resource.spec.to_manifest(),
        **({"status": status} if status else {}),
    }
