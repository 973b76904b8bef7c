"""Runs of replays inside this process: begun once, watched by later passes, halted when they may not go on
(the run protocol of pik.execution.replay makes all of that safe to lose)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pik.api.targets import TargetType
from pik.controller.background import Background
from pik.controller.cloud import Cloud
from pik.controller.objects import ObjectKey
from pik.controller.workshop import OpenStream
from pik.domain.errors import PikError
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import Progress, read_progress
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.shard import Tools
from pik.execution.stream import Stream
from pik.planning.expressions import guarded, parse_condition
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.records import ChunkHead, End, RunRecord
from pik.planning.replay.spec import ReplaySpec, TargetAddress
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
    """Executes runs beside the reconcilers. Belongs to one event loop."""

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
        """`lease_holder`: as in `Tools`. `memory`: DuckDB's limit for one run."""
        self._background = background
        self._cloud = cloud
        self._clock = clock
        self._wake = wake
        self._memory = memory
        self._settings = settings or ShardSettings()
        self._holder = entropy.hex(32)
        self._lease_holder = lease_holder
        self._watches: dict[str, Watch] = {}

    def ensure(
        self,
        key: ObjectKey,
        opened: OpenStream,
        record: RunRecord,
        spec: ReplaySpec,
        *,
        pace: EffectivePace,
        parallelism: int,
        halted: Callable[[], bool],
    ) -> End | None:
        """How the run ended; None while it goes on. Begins it, or goes on with it, where this process is not
        at it. Raises what interrupted it, once: the next call goes on with it."""
        watch = self._watches.get(record.run_id)
        if watch is None:
            watch = self._watches[record.run_id] = Watch(self._clock, lambda: self._wake(key))

        async def run() -> End | None:
            sinks: list[Sink] = []
            try:
                sinks.append(self._cloud.sink(spec.target))
                if spec.dead_letter is not None:
                    sinks.append(self._cloud.sink(TargetAddress(TargetType.SQS, spec.dead_letter)))
                tools = Tools(
                    selector=selector_of(opened.stream, self._memory),
                    sink=sinks[0],
                    dead_letter=sinks[1] if spec.dead_letter is not None else None,
                    pacer=Pacer(self._clock, pace),
                    holder=self._holder,
                    halted=lambda: self._background.halting or halted(),
                    observer=watch,
                    settings=self._settings,
                    lease_holder=self._lease_holder,
                )
                return await run_replay(opened.stream, record.run_id, tools, parallelism)
            finally:
                for sink in sinks:
                    await sink.close()

        ended = self._background.poll(key, _RUN, record.run_id, run)
        if ended is not None and ended.value is None:
            ended = self._background.poll(key, _RUN, record.run_id, run)  # it was halted, and goes on
        if ended is None:
            return None
        self._watches.pop(record.run_id, None)
        return ended.value

    def is_running(self, key: ObjectKey) -> bool:
        return self._background.is_running(key, _RUN)

    def ended(self, run_id: str) -> None:
        """The run's end is on record: what was seen on the way is of no use any more."""
        self._watches.pop(run_id, None)

    async def progress(self, key: ObjectKey, stream: Stream, run_id: str) -> Progress:
        """By the last checkpoint of each shard; of a run under way, as of a few moments ago at most."""
        watch = self._watches.get(run_id)
        if watch is None or not self.is_running(key):
            return await read_progress(stream, run_id)
        if watch.progress is None or watch.is_due():
            began = self._clock.now().micros
            watch.progress = await read_progress(stream, run_id)
            watch.read = self._clock.now().micros
            watch.cost = watch.read - began
        return watch.progress

    def trouble(self, run_id: str) -> PikError | None:
        """Why the target is being tried again, if it is."""
        watch = self._watches.get(run_id)
        return None if watch is None else watch.trouble


def selector_of(stream: Stream, memory: str | None) -> DuckDBSelector:
    """Slices of the stream, with conditions as pik allows them. `memory`: DuckDB's limit."""
    return DuckDBSelector(stream, lambda condition: guarded(parse_condition(condition)), memory)
