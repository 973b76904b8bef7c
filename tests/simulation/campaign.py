"""Schedules by the thousand: what is played, and `make simulate`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from pik.execution.capture.settings import CaptureSettings
from pik.execution.retrying import Patience
from pik.execution.stream import Deduplication
from simulation import life_oracle, replay_scenario
from simulation.capture_scenario import SETTINGS, Scenario, judge
from simulation.fates import Faults
from simulation.life import Life
from simulation.plain import PlainFiles
from simulation.virtual_loop import Deadlock, Endless, schedules
from simulation.world import World

FAULTS = Faults()
SLOW = Faults(slow=0.3)
HARSH = Faults(lost=0.12, refused=0.12)
RACING = Faults(crash=0.05, slow=0.5)
IMPATIENT = CaptureSettings(max_rows=3, void_wait=2.0, patience=Patience(2, 0.1, 0.2), restarts=3)
BLOCK = 250  # schedules that a process plays before it tells of them
TOLD = 40  # blocks after which it is told how far it is
SHOWN = 3  # failures that are told at length

Play = Coroutine[object, object, list[str]]


@dataclass(frozen=True)
class Played:
    """One schedule. `broken`: the laws that it broke, in words."""

    seed: int
    kind: str
    world: World
    broken: list[str]

    @property
    def explained(self) -> str:
        return f"PIK_SEED={self.seed} ({self.kind}): {self.broken}\n{self.world.explained()}"


def play(seed: int, kind: str | None = None) -> Played:
    """The schedule of this seed; its kind follows from the seed, unless it is given."""
    kind = kind or kind_of(seed)
    world, scenario = KINDS[kind](seed)
    try:
        broken = world.run(scenario)
    except (Deadlock, Endless, Exception) as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        where = traceback.extract_tb(error.__traceback__)[-1]
        broken = [f"{error!r} at {where.filename}:{where.lineno}"]
    return Played(seed, kind, world, broken)


def kind_of(seed: int) -> str:
    """Of twenty schedules, eleven are whole lives."""
    return TURNS[seed % len(TURNS)]


def _life(
    deduplication: Deduplication, retention_days: int | None, faults: Faults = FAULTS
) -> Callable[[int], tuple[World, Play]]:
    def make(seed: int) -> tuple[World, Play]:
        page = 2 if seed // len(TURNS) % 2 == 0 else 1_000
        world = World(seed, deduplication, page, retention_days, PlainFiles)
        return world, _lived(Life(world), faults)

    return make


async def _lived(life: Life, faults: Faults) -> list[str]:
    await life.run(faults)
    return await life_oracle.judge(life)


def _capture(
    deduplication: Deduplication,
    faults: Faults,
    settings: CaptureSettings = SETTINGS,
    *,
    page: int = 1_000,
    **sizes: Any,
) -> Callable[[int], tuple[World, Play]]:
    def make(seed: int) -> tuple[World, Play]:
        world = World(seed, deduplication, page)
        return world, _captured(Scenario(world, settings=settings, **sizes), faults)

    return make


async def _captured(scenario: Scenario, faults: Faults) -> list[str]:
    await scenario.run(faults)
    scenario.world.seen["answers"] += len(scenario.log.told)
    return judge(scenario.world, scenario.log)


def _replay(seed: int) -> tuple[World, Play]:
    world = World(seed)
    return world, replay_scenario.scenario(world)


_ON_WRITE, _ON_READ = Deduplication.ON_WRITE, Deduplication.ON_READ
KINDS: dict[str, Callable[[int], tuple[World, Play]]] = {
    "life, OnWrite": _life(_ON_WRITE, None),
    "life, OnRead": _life(_ON_READ, None),
    "life and expiry, OnWrite": _life(_ON_WRITE, 1),
    "life and expiry, OnRead": _life(_ON_READ, 1),
    "slow life, OnWrite": _life(_ON_WRITE, None, SLOW),
    "slow life and expiry, OnWrite": _life(_ON_WRITE, 1, SLOW),
    "capture, OnWrite": _capture(_ON_WRITE, FAULTS),
    "capture, OnRead": _capture(_ON_READ, FAULTS),
    "impatient capture, OnWrite": _capture(_ON_WRITE, HARSH, IMPATIENT, page=1, writers=3),
    "impatient capture, OnRead": _capture(_ON_READ, HARSH, IMPATIENT, page=1, writers=3),
    "racing rebuilds": _capture(_ON_WRITE, RACING, writers=3, chaos=4, within=0.6),
    "replay": _replay,
}
TURNS = (
    "life, OnWrite",
    "capture, OnWrite",
    "life, OnRead",
    "slow life, OnWrite",
    "capture, OnRead",
    "life and expiry, OnWrite",
    "replay",
    "life, OnWrite",
    "capture, OnWrite",
    "impatient capture, OnWrite",
    "life, OnWrite",
    "racing rebuilds",
    "life, OnRead",
    "slow life, OnWrite",
    "capture, OnWrite",
    "slow life and expiry, OnWrite",
    "replay",
    "life, OnWrite",
    "life and expiry, OnRead",
    "impatient capture, OnRead",
)


@dataclass
class Statistics:
    """Of schedules of one kind."""

    schedules: int = 0
    calls: int = 0
    seconds: float = 0.0  # of CPU
    seen: Counter[str] = field(default_factory=Counter)


@dataclass
class Block:
    """What one process tells of its schedules."""

    kinds: dict[str, Statistics]
    failures: list[str]


def play_block(seeds: range) -> Block:
    kinds: dict[str, Statistics] = {}
    failures = []
    for seed in schedules(seeds):
        began = time.process_time()
        played = play(seed)
        of = kinds.setdefault(played.kind, Statistics())
        of.schedules += 1
        of.calls += len(played.world.trace)
        of.seen += played.world.seen
        of.seconds += time.process_time() - began
        if played.broken:
            failures.append(played.explained)
    return Block(kinds, failures)


def campaign(count: int, processes: int) -> int:
    """Plays so many schedules; how many broke a law."""
    began = time.monotonic()
    kinds: dict[str, Statistics] = {kind: Statistics() for kind in KINDS}
    failures = 0
    blocks = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
    with get_context("spawn").Pool(processes) as pool:
        for done, block in enumerate(pool.imap_unordered(play_block, blocks), start=1):
            if done % TOLD == 0:
                print(f"{done * BLOCK:,} schedules in {time.monotonic() - began:,.0f} s", flush=True)
            for kind, of in block.kinds.items():
                kinds[kind].schedules += of.schedules
                kinds[kind].calls += of.calls
                kinds[kind].seconds += of.seconds
                kinds[kind].seen += of.seen
            for failure in block.failures:
                failures += 1
                if failures <= SHOWN:
                    print(failure, flush=True)
    seconds = time.monotonic() - began
    print("\n".join(_told(kinds)))
    print(
        f"{count:,} schedules in {seconds:,.0f} s by {processes} processes "
        f"({sum(of.seconds for of in kinds.values()):,.0f} s of CPU): {count / seconds:,.0f} a second, "
        f"{failures} of them broke a law"
    )
    return failures


def _told(kinds: dict[str, Statistics]) -> Iterator[str]:
    for kind, of in kinds.items():
        if of.schedules:
            yield f"{kind}: {of.schedules:,} schedules, {of.calls:,} calls, {of.seconds:,.0f} s"
            yield "    " + ", ".join(f"{what} {times:,}" for what, times in of.seen.most_common())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="this one alone, with all that happens in it")
    given = parser.parse_args()
    if given.seed is None:
        return 1 if campaign(given.schedules, given.processes) else 0
    played = play(given.seed)
    print("\n".join(" ".join(step) for step in played.world.trace))
    print(f"{played.kind}: {played.broken or 'no law is broken'}")
    return 1 if played.broken else 0


if __name__ == "__main__":
    sys.exit(main())
