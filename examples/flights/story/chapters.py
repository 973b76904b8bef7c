"""The story in local mode."""

from __future__ import annotations

from pathlib import Path

from story import oracle
from story.capture import capture_the_year
from story.damage import damage_and_repair
from story.folder import Folder
from story.questions import OPENING, explain_the_difference, known_at_midnight, survive_a_storm
from story.replay import replay_the_late
from story.terminal import check


def tell(stage: Folder) -> None:
    """The whole story, in order. Raises `StoryBroken` where a promise does not hold."""
    stage.say(OPENING)
    with stage.chapter("Two streams, an AWS emulator, nothing but Python"):
        stage.up()
        with stage.working("starting the emulator and provisioning the streams"):
            stage.until("capturestream", "flights", "Ready")
            stage.until("capturestream", "weather", "Ready")
        stage.look("capturestreams")
    with stage.chapter("A year of flights and weather, as a pipeline would have sent it"):
        captured = capture_the_year(stage)
    truth = oracle.delay(captured.flights)
    with stage.chapter("What did the dashboard know at midnight?"):
        midnight = known_at_midnight(stage, truth)
    with stage.chapter("A retry storm, and a few payloads that changed"):
        survive_a_storm(stage, captured, midnight)
    with stage.chapter("What is known today, and what is the difference?"):
        late = explain_the_difference(stage, truth)
    with stage.chapter("One of those flights"):
        stage.show("explain", late[0][:12])
    with stage.chapter("Beside it: what is wrong with the weather?"):
        _weather(stage, captured.weather_file)
    replay_the_late(stage, truth)
    damage_and_repair(stage, midnight)


def _weather(stage: Folder, path: Path) -> None:
    stage.show("inspect", "gaps", "weather")
    gaps = stage.ask("inspect", "gaps", "weather")
    missing = {row["key"]: row["missing"] for row in gaps["sections"]["keys"]}
    check(missing == oracle.weather_gaps(path), "missing hours by airport")
    stage.show("inspect", "conflicts", "weather")
    stage.proved(
        f"missing hours by airport as pandas counts them: {missing}; the clocks went back, and "
        f"{oracle.local_hour_collisions(path)} readings share a key with another"
    )
