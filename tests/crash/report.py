"""What a campaign did and found, for a person and for later."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from crash.checker import Verdict
from crash.processes import Kill


@dataclass
class RoundOutcome:
    """`starts`: of processes. `retried`: tries of producers, by what came instead of an answer. `unspent`:
    fates that no process lived to see."""

    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)
    retried: dict[str, int] = field(default_factory=dict)
    name: str = ""
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    unspent: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        found = self.verdict
        text = (
            f"round {self.name}: {len(self.kills)} kills, {found.events} events, "
            f"{sum(found.answers.values())} answers, {found.deliveries} deliveries, "
            f"{found.repeats} repeats, {self.seconds:.0f} s"
        )
        return "\n".join([text, *(f"FAULT {fault}" for fault in self.faults)])


@dataclass
class Outcome:
    """`seed`: repeats the plan of kills."""

    seed: int
    rounds: list[RoundOutcome] = field(default_factory=list)

    @property
    def kills(self) -> list[Kill]:
        return [kill for each in self.rounds for kill in each.kills]

    @property
    def faults(self) -> list[str]:
        return [f"{each.name}: {fault}" for each in self.rounds for fault in each.faults]

    @property
    def repeats(self) -> int:
        return sum(each.verdict.repeats for each in self.rounds)


def print_report(outcome: Outcome) -> None:
    console = Console(width=140)
    kills = Table(title="kills", title_justify="left")
    for heading in ("process", "step", "kills", "at the step", "in the middle"):
        kills.add_column(heading, justify="left" if heading in ("process", "step") else "right")
    by_step: dict[tuple[str, str], list[Kill]] = {}
    for kill in outcome.kills:
        by_step.setdefault((kill.role, kill.at), []).append(kill)
    for (role, step), found in sorted(by_step.items()):
        reached, busy = sum(kill.reached for kill in found), sum(kill.in_the_middle for kill in found)
        kills.add_row(role, step, str(len(found)), str(reached), str(busy))
    everything = outcome.kills
    kills.add_section()
    kills.add_row(
        "all",
        "",
        str(len(everything)),
        str(sum(kill.reached for kill in everything)),
        str(sum(kill.in_the_middle for kill in everything)),
    )
    console.print(kills)
    rounds = Table(title="rounds", title_justify="left")
    headings = ("round", "kills", "starts", "events", "arrivals", "answers", "tries again", "deliveries")
    for heading in (*headings, "repeats", "chunks named", "with repeats", "aggregates", "faults", "s"):
        rounds.add_column(heading, justify="left" if heading == "round" else "right")
    for each in outcome.rounds:
        found = each.verdict
        numbers = (
            *(len(each.kills), each.starts, found.events, found.arrivals, sum(found.answers.values())),
            *(sum(each.retried.values()), found.deliveries, found.repeats, found.named, found.repeating),
            *(found.aggregates, len(each.faults), round(each.seconds)),
        )
        rounds.add_row(each.name, *map(str, numbers))
    console.print(rounds)
    answers = sum((each.verdict.answers for each in outcome.rounds), Counter[str]())
    console.print("answers:", ", ".join(f"{count} {status}" for status, count in sorted(answers.items())))
    unspent = Counter(fate for each in outcome.rounds for fate in each.unspent)
    if unspent:
        console.print("fates that no process lived to see:", ", ".join(sorted(unspent)))
    for fault in outcome.faults:
        console.print(f"FAULT {fault}", style="red")
    if outcome.faults:
        sys.stdout.write(f"the same kills again: make crash CRASH='--seed {outcome.seed}'\n")


def write_report(outcome: Outcome, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
