"""One pass after the other: key → object → reconciler → one status write, events, and when to look again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pik.api.conditions import Reason
from pik.api.kinds import AnyResource
from pik.controller.faults import outcome_of
from pik.controller.objects import ObjectKey, Objects, ObjectWriter, key_of
from pik.controller.observers import Nobody, PassObserver
from pik.controller.outcome import Backoff, Done, Outcome, Pass, Retry, Settlement, Stalled, Waiting, settle
from pik.controller.queue import WorkQueue
from pik.domain.errors import PikError
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_LOOK_UP = 0.05  # seconds between two looks at whether what comes first has been taken up

Reconcile = Callable[[AnyResource], Awaitable[Pass]]
Finalize = Callable[[AnyResource], Awaitable[Pass]]


@dataclass(frozen=True, slots=True)
class Reconcilers:
    """`reconcile`: one pass over an object. `holds`: whether its deletion has to wait for `finalize`.
    `finalize`: what its deletion asks for; its outcome is Done when it may go. `forget`: it is gone without
    either."""

    reconcile: Reconcile
    holds: Callable[[AnyResource], bool]
    finalize: Finalize
    forget: Callable[[ObjectKey], Awaitable[None]]


@dataclass(slots=True)
class Manager:
    """Workers over one queue. What waits for an object is woken by every change of it."""

    objects: Objects
    writer: ObjectWriter
    reconcilers: Reconcilers
    queue: WorkQueue
    clock: Clock
    entropy: Entropy
    backoff: Backoff = field(default_factory=Backoff)
    observer: PassObserver = field(default_factory=Nobody)
    outcomes: dict[ObjectKey, Outcome] = field(default_factory=dict)
    _failures: Counter[ObjectKey] = field(default_factory=Counter)
    _waiting: dict[ObjectKey, set[ObjectKey]] = field(default_factory=dict)  # by what is waited for

    def changed(self, key: ObjectKey) -> None:
        """The object was created, changed or deleted by somebody."""
        self._failures.pop(key, None)
        self.queue.add(key)
        self.wake_waiting(key)

    def wake_waiting(self, key: ObjectKey) -> None:
        for waiting in sorted(self._waiting.pop(key, ())):
            self.queue.add(waiting)

    async def take_up(self, first: str) -> None:
        """What was there before: objects of the kind `first`, and when a pass has been over each the others,
        so that nothing that was done is found waiting again for what it refers to."""
        known = self.objects.keys()
        before = [key for key in known if key.kind == first]
        for key in before:
            self.queue.add(key)
        while any(self._is_untried(key) for key in before):
            await self.clock.sleep(_LOOK_UP)
        for key in known:
            if key.kind != first:
                self.queue.add(key)

    def _is_untried(self, key: ObjectKey) -> bool:
        if key in self.outcomes:
            return False
        resource = self.objects.find(key)
        # one that goes leaves no outcome behind, and may stay for somebody else's finalizer
        return resource is not None and resource.metadata.deletionTimestamp is None

    async def run(self, workers: int) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self.one(key)
            finally:
                self.queue.done(key)

    async def one(self, key: ObjectKey) -> None:
        """One pass over the object of this key."""
        resource = self.objects.find(key)
        with self.observer.passing(key, None if resource is None else resource.metadata.generation):
            try:
                await self._pass(key, resource)
            except PikError as error:
                # what was found out could not be written: the pass is done again
                self._failures[key] += 1
                if resource is not None:  # it has been tried, and nobody needs to wait for it
                    self.outcomes.setdefault(key, outcome_of(error, key.kind))
                self.observer.unwritten(key)
                log.warning("%s: what a pass found could not be written: %s", key, error)
                self.queue.add_after(key, self.backoff.wait(self._failures[key], self._part()))

    async def _pass(self, key: ObjectKey, resource: AnyResource | None) -> None:
        if resource is None:
            self.queue.forget(key)  # first: one that comes back meanwhile is not lost
            await self._gone(key)
        elif resource.metadata.deletionTimestamp is not None:
            await self._finalize(resource)
        elif await self.writer.hold(resource, held=self.reconcilers.holds(resource)):
            await self._reconcile(resource)

    async def _reconcile(self, resource: AnyResource) -> None:
        key = key_of(resource)
        result, settlement = await self._settled(resource, self.reconcilers.reconcile)
        before = self.outcomes.get(key)
        self.outcomes[key] = result.outcome
        if isinstance(result.outcome, Waiting | Stalled) and result.outcome.on is not None:
            self._waiting.setdefault(result.outcome.on, set()).add(key)
        await self.writer.write_status(resource, settlement.status)
        self.observer.passed(resource, settlement.status, result.outcome)
        if settlement.events:
            await self.writer.record(resource, settlement.events)
        if before != result.outcome:
            self.wake_waiting(key)
        if result.expired:
            await self.writer.delete(resource)
        elif settlement.requeue_after is not None:
            self.queue.add_after(key, settlement.requeue_after)

    async def _finalize(self, resource: AnyResource) -> None:
        key = key_of(resource)
        result, settlement = await self._settled(resource, self.reconcilers.finalize)
        self.outcomes[key] = result.outcome
        if isinstance(result.outcome, Done):
            if result.events:
                await self.writer.record(resource, result.events)
            self.queue.forget(key)  # first: a change, or one that comes back, is not lost
            if await self.writer.finalized(resource):
                self.observer.passed(resource, resource.status, result.outcome)
                await self._gone(key)
            return
        await self.writer.write_status(resource, settlement.status)
        self.observer.passed(resource, settlement.status, result.outcome)
        if settlement.events:
            await self.writer.record(resource, settlement.events)
        if settlement.requeue_after is not None:
            self.queue.add_after(key, settlement.requeue_after)

    async def _settled(self, resource: AnyResource, work: Reconcile) -> tuple[Pass, Settlement]:
        """What the work comes to, whatever it raises, and that made ready to be written."""
        try:
            result = await work(resource)
            return result, self._settle(resource, result)
        except PikError as error:
            result = Pass(resource.status, outcome_of(error, resource.KIND))
        except Exception as error:  # the one place where a bug in a pass becomes a condition of its object
            log.exception("a pass over %s failed", key_of(resource))
            message = f"{type(error).__name__}: {error}"[:1000]
            result = Pass(resource.status, Retry(Reason.INTERNAL_ERROR, message))
        return result, self._settle(resource, result)

    async def _gone(self, key: ObjectKey) -> None:
        await self.reconcilers.forget(key)
        self.outcomes.pop(key, None)
        self._failures.pop(key, None)
        self.observer.gone(key)
        for waiting in self._waiting.values():
            waiting.discard(key)
        self.wake_waiting(key)

    def _settle(self, resource: AnyResource, result: Pass) -> Settlement:
        key = key_of(resource)
        failures = self._failures[key] + 1 if isinstance(result.outcome, Retry) else 0
        settlement = settle(
            resource,
            result,
            failures=failures,
            part=self._part(),
            backoff=self.backoff,
            now=self.clock.now(),
        )
        self._failures[key] = failures
        return settlement

    def _part(self) -> float:
        return int(self.entropy.hex(8), 16) / 0xFFFFFFFF
