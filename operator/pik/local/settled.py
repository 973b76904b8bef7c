"""Whether a folder has come to rest, and whether all of it is as it should be (`pik up --once`).

As it should be is what is Ready or Complete; a ReplayJob with mode DryRun when its plan is shown (Planned).
Nothing else: not what is suspended, waits for approval, waits for an object that is not there, or stalls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pik.api.conditions import REASONS, ConditionType, Reason
from pik.api.kinds import AnyResource
from pik.api.replay_job import Mode, ReplayJob
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Done, Outcome, Retry, Waiting


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An object that is not as it should be, and why."""

    key: ObjectKey
    reason: str
    message: str


def is_moving(key: ObjectKey, outcome: Outcome | None) -> bool:
    """Whether work on the object goes on by itself. None: it was not looked at yet."""
    if outcome is None or isinstance(outcome, Retry):
        return True
    if isinstance(outcome, Waiting) and outcome.on is None:
        # not for a person: those reasons are none of Reconciling
        return outcome.reason in REASONS[key.kind][ConditionType.RECONCILING]
    return False


def is_as_it_should_be(resource: AnyResource, outcome: Outcome | None) -> bool:
    if isinstance(resource, ReplayJob) and resource.spec.mode is Mode.DRY_RUN:
        planned = isinstance(outcome, Waiting) and outcome.reason is Reason.PLANNED
        return planned or isinstance(outcome, Done)
    return isinstance(outcome, Done)


def unfinished(
    resources: Iterable[tuple[ObjectKey, AnyResource]], outcomes: Mapping[ObjectKey, Outcome]
) -> list[Unfinished]:
    """The objects that are not as they should be."""
    found = []
    for key, resource in resources:
        outcome = outcomes.get(key)
        if is_as_it_should_be(resource, outcome):
            continue
        if outcome is None:
            found.append(Unfinished(key, "Unknown", "it was not looked at"))
        else:
            found.append(Unfinished(key, outcome.reason.value, outcome.message or outcome.reason.meaning))
    return found
