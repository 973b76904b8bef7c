"""Runs of replays inside this process: begun once, watched by later passes, halted when they may not go on
(the run protocol of pik.execution.replay makes all of that safe to lose)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pik.api.conditions import Reason
from pik.api.replay_job import ReplayJob
from pik.api.targets import TargetType
from pik.controller.background import Background
from pik.controller.cloud import Cloud
from pik.controller.engines import run_replay, selector_of
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Waiting
from pik.controller.runs import Run, Standing
from pik.domain.errors import PikError
from pik.execution.replay.ledger import Progress, read_progress
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools
from pik.planning.replay.policy import Refusal
from pik.planning.replay.records import ChunkHead, End
from pik.planning.replay.spec import TargetAddress
from pik.ports.sinks import Sink
from pik.ports.system import Clock, Entropy

_RUN = "run"  # the name of this work in the background
_SECOND = 1_000_000
_SPARING = 20


@dataclass(slots=True)
class Watch:
    """What is seen of a run under way. `trouble`: why a shard is being tried again. `progress`: as of
    `read`, by the ledger, which took `cost` to read (microseconds)."""

    clock: Clock
    wake: Callable[[], None]
    trouble: PikError | None = None
    progress: Progress | None = None
    read: int = 0
    cost: int = 0

    def checkpoint(self, head: ChunkHead) -> None:  # noqa: ARG002 - the ledger has it too
        self.trouble = None
        if self.is_due():
            self.wake()

    def retrying(self, shard: int, error: PikError) -> None:  # noqa: ARG002 - all shards have one target
        self.trouble = error
        self.wake()

    def is_due(self) -> bool:
        """Whether to read the ledger again: at most once a second, and for a twentieth of the time."""
        return self.clock.now().micros - self.read >= max(_SECOND, _SPARING * self.cost)


class InProcessRuns:
    """`Runs` beside the reconcilers. Belongs to one event loop."""

    def __init__(
        self,
        background: Background,
        cloud: Cloud,
        *,
        clock: Clock,
        entropy: Entropy,
        wake: Callable[[ObjectKey], None],
        settings: ShardSettings | None = None,
        lease_holder: str | None = None,
        memory: str | None = None,
    ) -> None:
        """`lease_holder`: as in `Tools`. `memory`: of one run, as in `relation.connect`."""
        self._background = background
        self._cloud = cloud
        self._clock = clock
        self._wake = wake
        self._memory = memory
        self._settings = settings or ShardSettings()
        self._holder = entropy.hex(32)
        self._lease_holder = lease_holder
        self._watches: dict[str, Watch] = {}
        self._held: set[ObjectKey] = set()

    def refusal(self, resource: ReplayJob) -> Refusal | None:
        http = resource.spec.target.http
        if http is None or http.secretRef is None:
            return None
        return Refusal(
            Reason.SECRET_NOT_READABLE,
            f"target.http.secretRef names the Secret {http.secretRef.name}, and events are sent from pik's "
            "own process here, which reads no Secrets",
        )

    async def ensure(self, run: Run) -> Standing:
        self._held.discard(run.key)
        watch = self._watches.get(run.id)
        if watch is None:
            watch = self._watches[run.id] = Watch(self._clock, lambda: self._wake(run.key))
        observed = watch

        async def work() -> End | None:
            return await self._execute(run, observed)

        ended = self._background.poll(run.key, _RUN, run.id, work)
        if ended is not None and ended.value is None:
            ended = self._background.poll(run.key, _RUN, run.id, work)  # it was halted, and goes on
        if ended is not None and ended.value is not None:
            self._watches.pop(run.id, None)
            return Standing(ended.value)
        if watch.trouble is not None:
            return Standing(outcome=Waiting(Reason.TARGET_UNAVAILABLE, str(watch.trouble)))
        return Standing()

    async def abandon(self, resource: ReplayJob) -> None:
        """It asks `Run.halted` by itself."""

    async def hold(self, key: ObjectKey) -> None:
        self._held.add(key)

    async def progress(self, run: Run, *, ended: bool) -> Progress:
        stream = run.opened.stream
        watch = self._watches.get(run.id)
        if ended or watch is None or not self._background.is_running(run.key, _RUN):
            return await read_progress(stream, run.id)
        if watch.progress is None or watch.is_due():
            began = self._clock.now().micros
            watch.progress = await read_progress(stream, run.id)
            watch.read = self._clock.now().micros
            watch.cost = watch.read - began
        return watch.progress

    async def ended(self, run: Run) -> None:
        """What was seen on the way is of no use any more."""
        self._watches.pop(run.id, None)

    async def stopped(self, key: ObjectKey) -> bool:
        return not self._background.is_running(key, _RUN)

    async def forget(self, key: ObjectKey) -> None:
        await self._background.stop(key)
        self._held.discard(key)

    async def _execute(self, run: Run, watch: Watch) -> End | None:
        sinks: list[Sink] = []
        try:
            cloud = run.opened.cloud
            sinks.append(cloud.sink(run.spec.target))
            if run.spec.dead_letter is not None:
                sinks.append(cloud.sink(TargetAddress(TargetType.SQS, run.spec.dead_letter)))
            tools = Tools(
                selector=selector_of(run.opened.stream, self._memory),
                sink=sinks[0],
                dead_letter=sinks[1] if run.spec.dead_letter is not None else None,
                pacer=Pacer(self._clock, run.pace),
                holder=self._holder,
                halted=lambda: self._background.halting or run.key in self._held or run.halted(),
                observer=watch,
                settings=self._settings,
                lease_holder=self._lease_holder,
            )
            return await run_replay(run.opened.stream, run.id, tools, run.resource.spec.parallelism)
        finally:
            for sink in sinks:
                await sink.close()
