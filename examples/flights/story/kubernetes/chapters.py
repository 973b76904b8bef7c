"""The story on Kubernetes."""

from __future__ import annotations

from story import oracle
from story.capture import capture_the_year
from story.kubernetes.cluster_stage import ClusterStage
from story.kubernetes.drift import drift_and_repair
from story.kubernetes.install import counted, find_a_cluster, install, install_again, uninstall
from story.kubernetes.replaying import replay_the_late
from story.questions import OPENING, explain_the_difference, known_at_midnight, survive_a_storm


def tell(stage: ClusterStage, *, keep: bool) -> None:
    """The whole story, in order. Raises `StoryBroken` where a promise does not hold."""
    stage.say(OPENING)
    find_a_cluster(stage, keep=keep)
    install(stage)
    with stage.chapter("A year of flights and weather, through the gateway's Service"):
        captured = capture_the_year(stage)
    truth = oracle.delay(captured.flights)
    with stage.chapter("What did the dashboard know at midnight? A Job computes it"):
        midnight = known_at_midnight(stage, truth)
    with stage.chapter("A retry storm, and a few payloads that changed"):
        survive_a_storm(stage, captured, midnight)
    with stage.chapter("What is known today, and what is the difference?"):
        explain_the_difference(stage, truth)
    received = replay_the_late(stage, truth)
    with stage.chapter("What kubectl shows of all that"):
        counted(stage, captured)
    drift_and_repair(stage, midnight)
    uninstall(stage)
    install_again(stage, midnight, received)
