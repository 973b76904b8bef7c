"""Everything that works on a stream is killed, at every step that has a name and at any moment; then the
stream's promises are checked by somebody else.

    python -m crash [--rounds 4] [--local 2] [--seed 1] [--endpoint URL]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import msgspec

from crash import steps
from crash.checker import check
from crash.clients import Producers
from crash.ground import SHARDS, Ground, free_port, producers_of
from crash.local import LocalMode
from crash.processes import Broken, Lingers, Processes
from crash.receivers import receiving
from crash.report import Outcome, RoundOutcome, print_report, write_report
from crash.steps import Fate, Step, Steps
from pik.local import emulator

WRITERS = 2
_TARGETS = ("http", "queue")
_FIRST_OF_TRANSACTIONS = 2  # number of a round
_LEAST = 4_000  # answers that the producers of a round get
_LARGEST = 130  # events of a request: more than one transaction
_LOCAL_PATIENCE = 6.0  # seconds
REPORT = Path("build/crash.json")


@dataclass(frozen=True)
class Round:
    """`fates`: by role. `local`: `pik up` does everything in one process."""

    number: int
    deciding: bool
    local: bool
    fates: dict[str, list[Fate]]

    @property
    def writes(self) -> str:
        return "Transactions" if self.deciding and self.number >= _FIRST_OF_TRANSACTIONS else "Statements"

    @property
    def name(self) -> str:
        kind = f"OnWrite {self.writes}" if self.deciding else "OnRead"
        return f"{self.number} {kind}{', pik up' if self.local else ''}"


def planned(seed: int, rounds: int, local: int, share: float = 1.0, moments: int = 10) -> list[Round]:
    """The same for the same seed. Every round has every step of its kind of stream, or that `share` of them;
    and `moments` kills of producers' and targets' writers that have no step."""
    apart = [_round(n, Random(f"{seed}/{n}"), share, moments) for n in range(rounds)]
    whole = [_local_round(n, Random(f"{seed}/{n}"), share, moments) for n in range(rounds, rounds + local)]
    return apart + whole


def _round(number: int, random: Random, share: float, moments: int) -> Round:
    deciding = number % 2 == 0
    writers = [f"serve-{n}" for n in range(WRITERS)]
    shards = [f"{target}-{shard}" for target in _TARGETS for shard in range(SHARDS)]
    fates: dict[str, list[Fate]] = {role: [] for role in (*writers, *shards)}
    capture = _some(steps.ON_WRITE if deciding else steps.ON_READ, random, share)
    random.shuffle(capture)
    for n, fate in enumerate(capture):
        fates[writers[n % WRITERS]].append(fate)
    sending = _some(steps.SHARD, random, share)
    random.shuffle(sending)
    for n, fate in enumerate(sending):
        fates[shards[n % len(shards)]].append(fate)
    for _ in range(moments):
        # nearly always something is under way there
        role = random.choice([*writers, *shards])
        fates[role].insert(random.randint(0, len(fates[role])), Fate(seconds=random.uniform(0, 0.7)))
    for role in writers:
        fates[role] = list(_prepared(fates[role]))
    for role in shards:
        fates[role] += _some(steps.SHARD_END, random, share / 2)
    rebuild = [*steps.REBUILD, *(steps.REBUILD_ENTRIES if deciding else [])]
    fates["build"] = _some(steps.BUILD, random, share)
    fates["rebuild"] = _some(rebuild, random, share)
    fates["orphans"] = _some(steps.ORPHANS, random, share)
    fates["seal"] = _some(steps.SEAL, random, share)
    for target in _TARGETS:
        fates[f"{target}-plan"] = _some(steps.PLAN, random, share / 2)
        fates[f"{target}-conclude"] = _some(steps.CONCLUDE, random, share / 2)
    fates["aggregate"] = _some([*steps.AGGREGATE, *steps.ANSWER], random, share)
    return Round(number, deciding, False, fates)


def _local_round(number: int, random: Random, share: float, moments: int) -> Round:
    """All of it in one process: first it captures, then it replays and computes besides."""
    deciding = number % 2 == 0
    writing = [step for step in (steps.ON_WRITE if deciding else steps.ON_READ) if _is_of_a_port(step)]
    capture, work = [*steps.BUILD, *writing], [*steps.AGGREGATE, *steps.PLAN, *steps.SHARD, *steps.CONCLUDE]
    fates = {}
    for phase, found in (("capture", capture), ("work", work)):
        suffered = _some(found, random, share / 2)
        for _ in range(moments // 2):
            moment = Fate(seconds=random.uniform(0, 5.0))
            suffered.insert(random.randint(0, len(suffered)), moment)
        fates[phase] = [Fate(fate.step, min(fate.seconds, _LOCAL_PATIENCE)) for fate in suffered]
    return Round(number, deciding, True, fates)


def _is_of_a_port(step: Step | tuple[Step, ...]) -> bool:
    """Whether `pik up` comes to it, whose HTTP nobody wraps."""
    return isinstance(step, tuple) or not step.call.startswith("http.")


def _some(wanted: Steps, random: Random, share: float) -> list[Fate]:
    """In their order."""
    chosen = [random.choice(one) if isinstance(one, tuple) else one for one in wanted]
    return [Fate(_at(step, random)) for step in chosen if random.random() < share]


def _at(step: Step, random: Random) -> Step:
    return step if step.often == 1 else msgspec.structs.replace(step, nth=random.randint(1, step.often))


def _prepared(fates: Sequence[Fate]) -> Iterator[Fate]:
    """Before what a writer comes to only where another one has died with reservations, one does."""
    for fate in fates:
        if fate.name in steps.BLOCKED:
            yield Fate(steps.LEFT_BEHIND)
        yield fate


class Campaign:
    def __init__(self, endpoint: str, scratch: Path, **sending: float) -> None:
        """`sending`: how the producers of a round do that, as `Producers` has it."""
        self._endpoint = endpoint
        self._scratch = scratch
        self._sending: dict[str, Any] = {"largest": _LARGEST, **sending}

    async def run(self, round_: Round, seed: int) -> RoundOutcome:
        name = f"crash-{round_.number}-{uuid4().hex[:12]}"
        processes = Processes(self._endpoint, self._scratch / name)
        began = time.monotonic()
        play = self._local if round_.local else self._apart
        try:
            made = await play(round_, processes, name, Random(f"{seed}/{round_.number}/producers"))
        except (Broken, Lingers) as error:
            made = RoundOutcome(faults=[f"{type(error).__name__}: {error}"])
        finally:
            await processes.stop()
        made.name = round_.name
        made.kills = processes.kills
        made.starts = len(processes.started)
        made.unspent = [f"{role}: {fate.name}" for role, left in round_.fates.items() for fate in left]
        made.seconds = time.monotonic() - began
        return made

    async def _apart(self, round_: Round, processes: Processes, name: str, random: Random) -> RoundOutcome:
        ground = Ground(processes, self._endpoint, name, round_.deciding, round_.writes, round_.fates)
        ports = [free_port() for _ in range(WRITERS)]
        producers = producers_of(ports, random, **self._sending)
        async with receiving() as receiver:
            await ground.build()
            await ground.capture(producers, ports)
            await ground.index_orphans()
            await ground.seal()
            await ground.replay_over_http(receiver)
            await ground.replay_to_queue()
            more = await ground.nothing_more_of(receiver)
            await ground.aggregate("delays")
        return self._judged(ground, producers, [f"sent after its end: {each.key}" for each in more])

    async def _local(self, round_: Round, processes: Processes, name: str, random: Random) -> RoundOutcome:
        ground = Ground(processes, self._endpoint, name, round_.deciding, round_.writes, round_.fates)
        port = free_port()
        producers = producers_of([port], random, **self._sending)
        async with receiving() as receiver:
            await LocalMode(ground, self._scratch / f"{name}-folder", port).play(producers, receiver)
        return self._judged(ground, producers, [])

    def _judged(self, ground: Ground, producers: Producers, faults: list[str]) -> RoundOutcome:
        verdict = check(ground.evidence(producers))
        odd = [f"an answer that no producer should get: {each}" for each in producers.odd[:5]]
        faults = [*verdict.faults, *odd, *faults]
        return RoundOutcome(verdict=verdict, faults=faults, retried=dict(producers.failed))


async def campaign(
    endpoint: str, scratch: Path, rounds: Sequence[Round], seed: int, **sending: float
) -> Outcome:
    outcome = Outcome(seed)
    work = Campaign(endpoint, scratch, **sending)
    for round_ in rounds:
        done = await work.run(round_, seed)
        outcome.rounds.append(done)
        sys.stderr.write(f"{done}\n")
    return outcome


@contextmanager
def _emulated(given: str | None, scratch: Path) -> Iterator[str]:
    if given is not None:
        yield given
        return
    python = emulator.install(emulator.cache_directory(os.environ))
    running = emulator.start(python, log=scratch / "emulator.log")
    try:
        yield running.endpoint
    finally:
        emulator.stop(running)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m crash", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=4, help="of processes apart, as in a cluster")
    parser.add_argument("--local", type=int, default=2, help="of `pik up`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the round of this number alone")
    parser.add_argument("--endpoint", help="of an AWS emulator; by default one is started")
    options = parser.parse_args()
    rounds = planned(options.seed, options.rounds, options.local)
    if options.only is not None:
        rounds = [round_ for round_ in rounds if round_.number == options.only]
    with tempfile.TemporaryDirectory(prefix="pik-crash-") as home:
        scratch = Path(home)
        with _emulated(options.endpoint, scratch) as endpoint:
            outcome = asyncio.run(campaign(endpoint, scratch, rounds, options.seed, least=_LEAST))
    print_report(outcome)
    write_report(outcome, REPORT)
    return 1 if outcome.faults else 0
