"""Somebody changes in AWS what the objects say: it is found, repaired and told."""

from __future__ import annotations

from typing import Any

from story.kubernetes.cluster_stage import NAMESPACE, ClusterStage
from story.kubernetes.install import wait_for_streams
from story.questions import asked_again


def drift_and_repair(stage: ClusterStage, version: str) -> None:
    status: dict[str, Any] = stage.resource("capturestream", "flights")["status"]
    bucket, table = status["storage"]["bucket"], status["index"]["table"]
    with stage.chapter("Somebody turns the bucket's versioning off"):
        s3 = stage.s3()
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        stage.say(f"[yellow]versioning of {bucket} is suspended[/yellow]")
        _look_sooner(stage)
        with stage.working("found"):
            stage.eventually(
                lambda: s3.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled",
                "versioning is repaired",
            )
            stage.eventually(lambda: _repaired(stage, "versioning"), "the repair is in status")
        stage.type(f"kubectl -n {NAMESPACE} describe cst flights | sed -n '/Drift:/,/Time:/p; /^Events:/,$p'")
        stage.proved("repaired, and told in status and by an event")
    with stage.chapter("Somebody drops the table"):
        dynamodb = stage.client("dynamodb")
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
        stage.say(f"[yellow]{table} has lost its protection against deletion, and is gone[/yellow]")
        _look_sooner(stage)
        with stage.working("found"):
            stage.eventually(lambda: _repaired(stage, "table"), "the loss is found")
        stage.type(f"kubectl -n {NAMESPACE} get cst")
        wait_for_streams(stage)
        stage.type(f"kubectl -n {NAMESPACE} events --for capturestream/flights | tail -3")
        asked_again(stage, "delay-after-reindex", version)
        stage.proved(f"the index is rebuilt from raw alone, by itself: the same version, {version[:12]}")


def _look_sooner(stage: ClusterStage) -> None:
    """What a person changes is an occasion to look; without one it is the resync, every ten minutes."""
    stage.type(f"kubectl -n {NAMESPACE} annotate cst flights --overwrite looked-at=$(date +%s.%N)")


def _repaired(stage: ClusterStage, field: str) -> bool:
    drift = stage.resource("capturestream", "flights")["status"].get("drift", [])
    return any(one["field"] == field and one["action"] == "Repaired" for one in drift)
