"""What was known when: aggregates, a retry storm that moves none, and a difference that is explained."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

from story import oracle
from story.capture import Captured
from story.stage import EXAMPLE, Stage
from story.terminal import check

OPENING = (
    "[bold]The dashboard said that flights of 10 July were 33 minutes late.\n"
    "Today it says an hour. Who changed it?[/bold]"
)
STORM_FLIGHTS, STORM_WEATHER = 5_000, 500
STORM_CHANGED = 10  # flights, after those


def known_at_midnight(stage: Stage, truth: oracle.Delay) -> str:
    """The version that the dashboard could have known."""
    midnight = _aggregate(stage, "delay-at-midnight")
    check(midnight["inputCount"] == truth.flights_then, "the flights known at midnight")
    return str(midnight["version"])


def asked_again(stage: Stage, name: str, version: str) -> None:
    """The same question under another name, of the stream as it is now: the same version."""
    text = (EXAMPLE / "aggregates" / "delay-at-midnight.yaml").read_text()
    path = stage.home / f"{name}.yaml"
    path.write_text(text.replace("name: delay-at-midnight", f"name: {name}"))
    stage.apply(path)
    again = stage.until("aggregateversion", name, "Complete")["status"]
    check(again["version"] == version, f"the same version by {name}")


def survive_a_storm(stage: Stage, captured: Captured, version: str) -> None:
    """Sends a part of both streams again, and a few changed payloads under old keys."""
    flights = _repeats(
        captured.flights_file, stage.home / "flights-again.csv", STORM_FLIGHTS, "arr_delay", STORM_CHANGED
    )
    weather = _repeats(captured.weather_file, stage.home / "weather-again.csv", STORM_WEATHER, "temp", 3)
    stage.feed(flights, "flights")
    stage.feed(weather, "weather")
    for stream, repeats, changed in (
        ("flights", STORM_FLIGHTS, STORM_CHANGED),
        ("weather", STORM_WEATHER, 6),
    ):
        found = stage.ask("inspect", "duplicates", stream)
        contradicting = stage.ask("inspect", "conflicts", stream)
        check(_count(found, "duplicates") == repeats, f"{repeats} duplicates in {stream}")
        check(_count(contradicting, "conflicts_found") == changed, f"{changed} conflicts in {stream}")
    stage.show("inspect", "duplicates", "flights", lines=10)
    stage.proved(
        f"{STORM_FLIGHTS} and {STORM_WEATHER} repeats found, and {STORM_CHANGED} and 3 changed payloads "
        "beside the 3 conflicts that were there before"
    )
    asked_again(stage, "delay-at-midnight-again", version)
    stage.proved(f"computed again after the storm: the same version, {version[:12]}")


def explain_the_difference(stage: Stage, truth: oracle.Delay) -> list[str]:
    """Explains the whole difference, and returns the ids of the late events."""
    final = _aggregate(stage, "delay-finally")
    check(final["inputCount"] == truth.flights_finally, "the flights known finally")
    check(final["difference"]["late"] == truth.late, "every late flight is named")
    stage.show("diff", "delay-at-midnight", "delay-finally", "--by", "payload.carrier")
    explained = stage.ask("diff", "delay-at-midnight", "delay-finally", "--by", "payload.carrier")
    late = [event["event_id"] for event in explained["events"] if event["class"] == "late"]
    check(len(late) == truth.late, "the difference lists its events")
    stage.proved(
        f"nobody changed it: {truth.late} flights landed after midnight "
        f"({truth.mean_then:.1f} → {truth.mean_finally:.1f} minutes; pandas says the same)"
    )
    return late


def _aggregate(stage: Stage, name: str) -> dict[str, Any]:
    stage.apply(EXAMPLE / "aggregates" / f"{name}.yaml")
    status: dict[str, Any] = stage.until("aggregateversion", name, "Complete")["status"]
    stage.look("aggregateversion", name)
    return status


def _repeats(source: Path, target: Path, count: int, column: str, changed: int) -> Path:
    """The first `count` rows as they are, and the `changed` after them with another value in a column."""
    with (
        source.open(encoding="utf-8", newline="") as file,
        target.open("w", encoding="utf-8", newline="") as out,
    ):
        rows = csv.DictReader(file)
        writer = csv.DictWriter(out, rows.fieldnames or [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(itertools.islice(rows, count))
        writer.writerows({**row, column: "99.5"} for row in itertools.islice(rows, changed))
    return target


def _count(report: dict[str, Any], name: str) -> int:
    return int(report["summary"][name])
