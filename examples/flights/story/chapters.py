"""The story: the dashboard said that flights of 10 July were 33 minutes late; today it says an hour."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

from story import oracle
from story.capture import Captured, capture_everything
from story.damage import damage_and_repair
from story.replay import replay_the_late
from story.stage import EXAMPLE, Stage, check

STORM_FLIGHTS, STORM_WEATHER = 5_000, 500


def tell(stage: Stage) -> None:
    """The whole story, in order. Raises `StoryBroken` where a promise does not hold."""
    stage.say(
        "[bold]The dashboard said that flights of 10 July were 33 minutes late.\n"
        "Today it says an hour. Who changed it?[/bold]"
    )
    captured = capture_everything(stage)
    truth = oracle.delay(captured.flights)
    with stage.chapter("What did the dashboard know at midnight?"):
        midnight = _aggregate(stage, "delay-at-midnight")
        check(midnight["inputCount"] == truth.flights_then, "the flights known at midnight")
    with stage.chapter("A retry storm, and a few payloads that changed"):
        _storm(stage, captured)
        again = _recomputed(stage, "delay-at-midnight")
        check(again["version"] == midnight["version"], "a storm of repeats moves no version")
        stage.proved(f"computed again after the storm: the same version, {again['version'][:12]}")
    with stage.chapter("What is known today, and what is the difference?"):
        late = _difference(stage, truth)
    with stage.chapter("One of those flights"):
        stage.show("explain", late[0][:12])
    with stage.chapter("Beside it: what is wrong with the weather?"):
        _weather(stage, captured.weather_file)
    replay_the_late(stage, truth)
    damage_and_repair(stage, midnight["version"])


def _aggregate(stage: Stage, name: str) -> dict[str, Any]:
    stage.show("apply", "-f", str(EXAMPLE / "aggregates" / f"{name}.yaml"))
    stage.until("aggregateversion", name, "Complete")
    stage.show("get", "aggregateversion", name)
    status: dict[str, Any] = stage.resource("aggregateversion", name)["status"]
    return status


def _recomputed(stage: Stage, name: str) -> dict[str, Any]:
    """The same question under another name, from the stream as it is now."""
    text = (
        (EXAMPLE / "aggregates" / f"{name}.yaml").read_text().replace(f"name: {name}", f"name: {name}-again")
    )
    path = stage.home / f"{name}-again.yaml"
    path.write_text(text)
    stage.show("apply", "-f", str(path))
    stage.until("aggregateversion", f"{name}-again", "Complete")
    status: dict[str, Any] = stage.resource("aggregateversion", f"{name}-again")["status"]
    return status


def _storm(stage: Stage, captured: Captured) -> None:
    """Sends a part of both streams again, and a few changed payloads under old keys."""
    flights = _repeats(
        captured.flights_file, stage.home / "flights-again.csv", STORM_FLIGHTS, "arr_delay", 10
    )
    weather = _repeats(captured.weather_file, stage.home / "weather-again.csv", STORM_WEATHER, "temp", 3)
    stage.show("import", str(flights), "--stream", "flights", "--null", "NA")
    stage.show("import", str(weather), "--stream", "weather", "--null", "NA")
    for stream, repeats, changed in (("flights", STORM_FLIGHTS, 10), ("weather", STORM_WEATHER, 6)):
        found = stage.ask("inspect", "duplicates", stream)
        contradicting = stage.ask("inspect", "conflicts", stream)
        check(_count(found, "duplicates") == repeats, f"{repeats} duplicates in {stream}")
        check(_count(contradicting, "conflicts_found") == changed, f"{changed} conflicts in {stream}")
    stage.show("inspect", "duplicates", "flights", lines=10)
    stage.proved(
        f"{STORM_FLIGHTS} and {STORM_WEATHER} repeats found, and 10 and 3 changed payloads beside the 3 "
        "conflicts that were there before"
    )


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


def _difference(stage: Stage, truth: oracle.Delay) -> list[str]:
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


def _weather(stage: Stage, path: Path) -> None:
    stage.show("inspect", "gaps", "weather")
    gaps = stage.ask("inspect", "gaps", "weather")
    missing = {row["key"]: row["missing"] for row in gaps["sections"]["keys"]}
    check(missing == oracle.weather_gaps(path), "missing hours by airport")
    stage.show("inspect", "conflicts", "weather")
    stage.proved(
        f"missing hours by airport as pandas counts them: {missing}; the clocks went back, and "
        f"{oracle.local_hour_collisions(path)} readings share a key with another"
    )


def _count(report: dict[str, Any], name: str) -> int:
    return int(report["summary"][name])
