"""The commands one after the other on a cluster in which operator and gateway are at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli_cluster.people import APPROVE, CREATE, EVENTS, LOOK, SET, Person, Team
from cli_cluster.work import at_work, rows, token_of, wait
from cluster.handle import Cluster
from pik.aws.clients import AwsAccess, AwsClients

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: readings}
spec:
  storage: {prefix: a/readings}
  ingest: {auth: {type: TokenReview}}
  mapping:
    source: {value: sensors}
    eventType: {value: reading}
    entityID: {paths: [sensor]}
    eventTime: {paths: [at]}
    idempotencyKey: {join: {paths: [sensor, at]}}
  expect: {every: 1h, lateAfter: 1h}
"""
AGGREGATE = """
apiVersion: pik.dev/v1alpha1
kind: AggregateVersion
metadata: {name: NAME}
spec:
  streamRef: {name: readings}
  window: {from: "2013-07-10T00:00:00Z", to: "2013-07-11T00:00:00Z"}
  bucket: Window
  measures: [{name: readings, expression: count(*)}]
"""
DOOMED = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: doomed, annotations: {pik.dev/abandon-storage: "true"}}
spec:
  storage: {prefix: doomed, deletionPolicy: Delete}
"""
HOURS = [hour for hour in range(24) if hour not in (5, 6)]
WINDOW = ("--from", "2013-07-10T04:00:00Z", "--to", "2013-07-11T00:00:00Z")
SENDER = {"apiGroups": ["pik.dev"], "resources": ["capturestreams/events"], "verbs": ["create"]}


@pytest.fixture
def team(control_plane: Cluster, kube_namespace: str) -> Team:
    made = Team(control_plane, kube_namespace)
    made.gitops(STREAM)
    return made


@pytest.fixture
def queue(emulator: str, unique: str) -> str:
    sqs = AwsClients(AwsAccess(endpoint_url=emulator)).client("sqs")
    return sqs.create_queue(QueueName=unique)["QueueUrl"]


@pytest.fixture
def oncall(team: Team, tmp_path: Path, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    return team.person("oncall", LOOK, EVENTS, SET, CREATE, APPROVE)


def test_an_incident_from_the_first_event_to_what_is_left(
    team: Team, oncall: Person, emulator: str, queue: str, tmp_path: Path
) -> None:
    with at_work(team, emulator, tmp_path):
        wait(oncall, "cst", "readings", "Ready")

        # events come in by the gateway, and from those who may send
        lines = [f"{sensor},2013-07-10T{hour:02}:00:00Z,{hour}" for sensor in "ab" for hour in HOURS]
        file = rows(tmp_path / "rows.csv", *lines, "a,yesterday,1")
        stranger = oncall.asks("import", file, "--stream", "readings", code=1).stderr
        assert "answered 401" in stranger
        assert stranger.count("\n") == 1
        token = tmp_path / "token"
        token.write_text(token_of(team))
        first = ("import", file, "--stream", "readings", "--token-file", str(token))
        told = oncall.asks(*first, code=1).stdout
        assert "44 ACCEPTED, 1 REJECTED" in told
        again = oncall.asks(
            "import", file, "--stream", "readings", code=1, PIK_GATEWAY_TOKEN=token.read_text()
        )
        assert "44 DUPLICATE, 1 REJECTED" in again.stdout

        # looked at
        gaps = oncall.reads("inspect", "gaps", "readings")
        assert gaps["summary"]["missing"] == 4
        assert oncall.reads("verify", "readings")["ok"]
        team.gitops(AGGREGATE.replace("NAME", "before"))
        wait(oncall, "av", "before", "Complete")
        late = rows(tmp_path / "late.csv", "a,2013-07-10T05:00:00Z,5")
        oncall.asks("import", late, "--stream", "readings", "--token-file", str(token))
        team.gitops(AGGREGATE.replace("NAME", "after"))
        wait(oncall, "av", "after", "Complete")
        difference = oncall.reads("diff", "before", "after")
        assert (difference["counts"]["late"], len(difference["events"])) == (1, 1)
        explained = oncall.reads("explain", difference["events"][0]["event_id"])
        assert explained["stream"] == f"{team.namespace}/readings"

        # sent again, once
        replay = ("replay", "readings", "--name", "late", *WINDOW, "--to-queue", queue)
        oncall.asks(*replay)
        wait(oncall, "rj", "late", "Planned")
        oncall.asks(*replay, "--run")
        wait(oncall, "rj", "late", "Complete")
        ledger = oncall.reads("ledger", "late")
        assert (ledger["reconciliation"]["whole"], len(ledger["events"])) == (True, 37)
        (run,) = oncall.reads("runs")
        assert (run["job"], run["state"], run["sent"]) == (f"{team.namespace}/late", "Succeeded", 37)

        # what only the operator does
        assert "the operator seals streams" in oncall.asks("seal", "readings", code=1).stderr
        assert oncall.reads("reindex", "readings", "--timeout", "120") == {"generation": 2}
        assert oncall.reads("reindex", "readings", "--timeout", "120") == {"generation": 3}
        oncall.asks("suspend", "cst", "readings")
        assert "after `pik resume`" in oncall.asks("reindex", "readings", code=1).stderr
        oncall.asks("resume", "cst", "readings")
        wait(oncall, "cst", "readings", "Ready")

        # deleted, and had again
        assert orphans(oncall, team) == []
        stream_id = team.there("cst", "readings")["status"]["streamID"]
        team.cluster.kubectl("delete", "cst", "readings", "-n", team.namespace)
        left = orphans(oncall, team)
        assert [(one["kind"], one["owner"], one["streams"]) for one in left] == [
            ("Bucket", f"{team.namespace}/readings", [stream_id]),
            ("Table", f"{team.namespace}/readings", [stream_id]),
        ]
        team.gitops(STREAM)
        wait(oncall, "cst", "readings", "Ready")
        assert team.there("cst", "readings")["status"]["streamID"] == stream_id
        assert orphans(oncall, team) == []
        assert oncall.reads("verify", "readings")["ok"]

        # a deletion that is given up leaves the same, and nothing else
        team.gitops(DOOMED)
        wait(oncall, "cst", "doomed", "Ready")
        team.cluster.kubectl("delete", "cst", "doomed", "-n", team.namespace)
        assert [one["owner"] for one in orphans(oncall, team)] == [f"{team.namespace}/doomed"] * 2


def orphans(oncall: Person, team: Team) -> list[dict[str, Any]]:
    """As somebody who may look at one namespace sees them."""
    told = oncall.reads("orphans", "--cluster", team.namespace)
    assert told["namespace"] == team.namespace
    found: list[dict[str, Any]] = told["orphans"]
    return found
