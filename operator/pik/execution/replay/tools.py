"""What the shards of a run work with, as whoever starts them hands it over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from pik.domain.errors import PikError
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.planning.replay.records import ChunkHead
from pik.ports.selection import Selector
from pik.ports.sinks import Sink


class Observer(Protocol):
    """Told what happens, for progress and conditions; it decides nothing."""

    def checkpoint(self, head: ChunkHead) -> None: ...

    def retrying(self, shard: int, error: PikError) -> None: ...


class Unobserved:
    """Nobody looks."""

    def checkpoint(self, head: ChunkHead) -> None: ...

    def retrying(self, shard: int, error: PikError) -> None: ...


class Tools(msgspec.Struct, frozen=True):
    """What a run's shards work with. `holder` names the worker, newly for each start of a process; `halted`
    is asked between chunks. `lease_holder`: the worker in leases, where that is another name: one that a
    process started later may take for its own, since nothing else can be at work by then."""

    selector: Selector
    sink: Sink
    dead_letter: Sink | None
    pacer: Pacer
    holder: str
    halted: Callable[[], bool]
    observer: Observer
    settings: ShardSettings = ShardSettings()
    lease_holder: str | None = None
