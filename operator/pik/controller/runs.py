"""Who executes: what a pass begins and later passes look at. A pass does not know whether that is done beside
it or in pods of a cluster (owned here, by its consumers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pik.api.aggregate_version import AggregateVersion, Difference
from pik.api.conditions import Reason
from pik.api.replay_job import ReplayJob
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import ObjectEvent, Stalled, Waiting
from pik.controller.workshop import OpenStream
from pik.execution.aggregate.records import Answer
from pik.execution.replay.ledger import Progress
from pik.planning.definitions import Definition
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.policy import Refusal
from pik.planning.replay.records import End, RunRecord
from pik.planning.replay.spec import ReplaySpec


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is on record. `halted`: whether it has to stop, by what its object says when it is asked."""

    resource: ReplayJob
    opened: OpenStream
    record: RunRecord
    spec: ReplaySpec
    pace: EffectivePace
    halted: Callable[[], bool]

    @property
    def key(self) -> ObjectKey:
        return key_of(self.resource)

    @property
    def id(self) -> str:
        return self.record.run_id


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands: its end, or else what its object says meanwhile, and what an on-call should see."""

    end: End | None = None
    outcome: Waiting | Stalled = field(default_factory=lambda: Waiting(Reason.RUNNING))
    events: tuple[ObjectEvent, ...] = ()


class Runs(Protocol):
    """Executes runs of replays. That a run happens once does not hang on it (pik.execution.replay)."""

    def refusal(self, resource: ReplayJob) -> Refusal | None:
        """Why a job such as this cannot be executed here, whatever anyone allows; None where it can."""
        ...

    async def ensure(self, run: Run) -> Standing:
        """Begins the run, or goes on with it, where nobody is at it. Raises what interrupted it, once: the
        next call goes on with it."""
        ...

    async def abandon(self, resource: ReplayJob) -> None:
        """No run of this object is on record that may go on: one of another runKey stops at its next
        checkpoints."""
        ...

    async def hold(self, key: ObjectKey) -> None:
        """Whatever run is at work for this object stops at its next checkpoints, until one is ensured
        again."""
        ...

    async def progress(self, run: Run, *, ended: bool) -> Progress:
        """By the last checkpoint of each shard; of a run under way, as of a few moments ago at most."""
        ...

    async def ended(self, run: Run) -> None:
        """The run's end is on record: what executed it may go. Done again it changes nothing."""
        ...

    async def stopped(self, key: ObjectKey) -> bool:
        """The object is being deleted. Whether nothing that would have to be waited for is at work for it."""
        ...

    async def forget(self, key: ObjectKey) -> None:
        """The object is gone: nothing works for it any more. Its runs' records stay."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What an AggregateVersion asks of its stream. `before`: the version to compare with, once it is known
    which that is."""

    resource: AggregateVersion
    opened: OpenStream
    definition: Definition
    before: str | None

    @property
    def key(self) -> ObjectKey:
        return key_of(self.resource)


class Computations(Protocol):
    """Computes versions and their differences. What is found is kept in the bucket, and found there again."""

    async def answer(self, question: Question) -> Answer | Waiting | Stalled:
        """The version that answers it; what its object says while it is being computed. Raises what `compute`
        does, once: the next call tries it again."""
        ...

    async def difference(self, question: Question, own: str, before: str) -> Difference | Waiting | Stalled:
        """The difference of its `own` version from the version `before`, which the question names. Raises
        `NoSuchObject` where `before` is not a version of this stream, `Incomparable`, and what interrupted
        it, as `answer` does."""
        ...

    async def halt(self, key: ObjectKey) -> None:
        """Nothing is computed for this object until something is asked again."""
        ...

    async def forget(self, key: ObjectKey) -> None:
        """The object is gone: nothing works for it any more. Versions that are kept stay."""
        ...
