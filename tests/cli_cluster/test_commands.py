"""`pik` as people use it on a real API server: what they read, and what they set, beside GitOps."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from cli_cluster.people import APPROVE, CREATE, EVENTS, LOOK, MANIFESTS, OBJECTS, SET, Person, Team
from cluster.errors import CommandFailed
from pik.cluster.api import KubeApi
from pik.cluster.console import Console, MadeAnew

PLAN = "ab" * 32
CONDITION = {
    "type": "Complete",
    "status": "False",
    "reason": "AwaitingApproval",
    "message": "it waits for a person",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
PLANNED = {
    "observedGeneration": 1,
    "conditions": [CONDITION],
    "plan": {"hash": PLAN, "asOf": "2026-01-01T00:00:00.000000Z", "matched": 312, "stale": 2},
}
WINDOW = ("--from", "2013-07-10T04:00:00Z", "--to", "2013-07-11T04:00:00Z")
# The two ways in which a manifest comes again, each as often as it likes.
SYNCS: list[Callable[[Team], str]] = [
    lambda team: team.gitops(),
    lambda team: team.applies("--server-side", "--field-manager", "kustomize-controller"),
]


@pytest.fixture
def oncall(team: Team) -> Person:
    return team.person("oncall", LOOK, EVENTS, SET, CREATE, APPROVE)


# looking


def test_what_kubectl_shows_and_pik_shows_is_the_same(team: Team, oncall: Person) -> None:
    team.with_status("rj", "again", PLANNED)
    for kind, _ in OBJECTS:
        for wide in ((), ("-o", "wide")):
            told = team.cluster.kubectl("get", kind, "-n", team.namespace, *wide).splitlines()
            columns, cells = cells_of(told)
            shown, ours = cells_of(oncall.asks("get", kind, *wide).stdout.splitlines())
            assert {**cells, "NAMESPACE": team.namespace}.items() >= ours.items()
            # pik leaves out what is empty
            assert [column for column in columns if cells[column]] == [
                column for column in shown if column != "NAMESPACE"
            ]


def cells_of(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    """The columns but the age, and the one row's cells."""
    head, row = lines
    starts = [match.start() for match in re.finditer(r"\S+( \S+)*", head)]
    titles = re.findall(r"\S+(?: \S+)*", head)
    ends = [*starts[1:], None]
    cells = {
        title: re.sub("^(<.*>|-)$", "", row[start:end].strip())
        for title, start, end in zip(titles, starts, ends, strict=True)
    }
    cells.pop("AGE")
    return list(cells), cells


def test_an_object_whole(team: Team, oncall: Person) -> None:
    team.with_status("rj", "again", PLANNED)
    found = oncall.reads("get", "rj", "again")
    there = team.there("rj", "again")
    del there["metadata"]["managedFields"]
    assert found == there
    page = oncall.asks("describe", "rj", "again").stdout
    assert page.startswith(f"ReplayJob {team.namespace}/again, set by kustomize-controller\n")
    assert "AwaitingApproval  it waits for a person" in page


def test_events_of_an_object(team: Team, oncall: Person) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": team.namespace},
        "involvedObject": {
            "kind": "ReplayJob",
            "namespace": team.namespace,
            "name": "again",
            "uid": team.there("rj", "again")["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "TargetForbidden",
        "message": "never to there",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 7,
    }
    team.cluster.kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert re.search(
        r"Warning +TargetForbidden +\S+ \(x7\) +never to there", oncall.asks("describe", "rj", "again").stdout
    )
    assert "never to there" not in oncall.asks("describe", "cst", "things").stdout
    blind = team.person("blind", LOOK)
    assert 'cannot list resource "events"' in blind.asks("describe", "rj", "again").stdout.replace("\n", " ")


def test_waiting(team: Team, oncall: Person) -> None:
    early = oncall.asks("wait", "rj", "again", "--for", "condition=Planned", "--timeout", "0", code=1)
    assert "nothing has looked at it yet; does the operator run?" in early.stderr
    team.with_status("rj", "again", PLANNED)
    oncall.asks("wait", "rj", "again", "--for", "condition=Complete=False", "--timeout", "5")
    oncall.asks("wait", "rj", "nothing", "--for", "delete", "--timeout", "0")


def test_how_it_stands(team: Team, oncall: Person) -> None:
    found = oncall.reads("status")
    assert (found["user"], found["namespace"], found["objects"], found["good"]) == (
        *("oncall@example.com", team.namespace),
        *(3, 0),
    )


def test_what_one_may_not_look_at_is_one_line(team: Team) -> None:
    stranger = team.person("stranger")
    refused = stranger.asks("get", "rj", code=1).stderr
    assert refused.startswith("error: replayjobs.pik.dev is forbidden: User")
    assert refused.count("\n") == 1


# approving


def test_an_approval_is_one_field_in_ones_own_name(team: Team, oncall: Person) -> None:
    assert "shows no plan yet" in oncall.asks("approve", "again", code=1).stderr
    team.with_status("rj", "again", PLANNED)
    before = team.there("rj", "again")["spec"]
    assert "look at it again" in oncall.asks("approve", "again", "--plan", "cd", code=1).stderr
    assert "you are oncall@example.com" in oncall.asks("approve", "again", "--by", "me", code=1).stderr
    told = oncall.asks("approve", "again", "--plan", "abab").stdout.splitlines()
    assert told == [
        f"ReplayJob {team.namespace}/again: plan {PLAN[:12]} (312 events) approved by oncall@example.com",
        f"  from   {team.namespace}/things, EventTime from 2013-07-10T04:00:00Z to 2013-07-11T04:00:00Z",
        "  as of  2026-01-01T00:00:00Z",
        "  to     SQS https://sqs.us-east-1.amazonaws.com/000000000000/q",
        "  order  EntityTime",
        "  stale  2 entities with newer events outside the slice: onStale Fail",
    ]
    approval = {"plan": PLAN, "by": "oncall@example.com"}
    assert team.there("rj", "again")["spec"] == {**before, "approval": approval}
    assert team.managed("rj", "again", "pik-approve") == {
        "f:spec": {"f:approval": {"f:by": {}, "f:plan": {}}}
    }


@pytest.mark.parametrize("sync", SYNCS)
def test_gitops_does_not_undo_an_approval(team: Team, oncall: Person, sync: Callable[[Team], str]) -> None:
    team.with_status("rj", "again", PLANNED)
    oncall.asks("approve", "again")
    generation = team.there("rj", "again")["metadata"]["generation"]
    sync(team)
    sync(team)
    there = team.there("rj", "again")
    assert there["spec"]["approval"]["plan"] == PLAN
    assert there["metadata"]["generation"] == generation


def test_nor_does_kubectl_apply(team: Team, oncall: Person) -> None:
    team.applies()  # the client's own way, which remembers what it applied last
    team.with_status("rj", "again", PLANNED)
    oncall.asks("approve", "again")
    oncall.asks("suspend", "cst", "things")
    team.applies()
    assert team.there("rj", "again")["spec"]["approval"]["plan"] == PLAN
    assert team.there("cst", "things")["spec"]["suspend"] is True


def test_an_approval_of_a_new_plan_takes_the_place_of_the_old(team: Team, oncall: Person) -> None:
    team.with_status("rj", "again", PLANNED)
    oncall.asks("approve", "again")
    other = team.person("other", LOOK, SET, APPROVE)
    team.with_status("rj", "again", {**PLANNED, "plan": {**PLANNED["plan"], "hash": "cd" * 32}})  # type: ignore[dict-item]
    other.asks("approve", "again")
    assert team.there("rj", "again")["spec"]["approval"] == {"plan": "cd" * 32, "by": "other@example.com"}


def test_without_the_right_nothing_is_written(team: Team) -> None:
    team.with_status("rj", "again", PLANNED)
    reader = team.person("reader", LOOK)
    refused = reader.asks("approve", "again", code=1).stderr
    assert refused.startswith('error: User "reader@example.com" cannot patch resource "replayjobs"')
    assert refused.count("\n") == 1
    assert "approval" not in team.there("rj", "again")["spec"]


# holding


@pytest.mark.parametrize("sync", SYNCS)
def test_what_is_held_stays_held_until_it_is_given_back(
    team: Team, oncall: Person, sync: Callable[[Team], str]
) -> None:
    before = [team.there(*one)["spec"] for one in OBJECTS]
    for kind, name in OBJECTS:
        told = oncall.asks("suspend", kind, name).stdout
        assert told.endswith(f" {team.namespace}/{name} suspended\n")
    sync(team)
    for one, spec in zip(OBJECTS, before, strict=True):
        assert team.there(*one)["spec"] == {**spec, "suspend": True}
        assert team.managed(*one, "pik-suspend") == {"f:spec": {"f:suspend": {}}}
    for kind, name in OBJECTS:
        oncall.asks("resume", kind, name)
        oncall.asks("resume", kind, name)  # again does no harm
    # absent, or false by default: as the manifest has it
    assert [team.there(*one)["spec"] for one in OBJECTS] == before
    assert [team.managed(*one, "pik-suspend") for one in OBJECTS] == [None, None, None]


def test_a_manifest_that_names_the_field_has_it_back(team: Team, oncall: Person) -> None:
    """What docs/cluster-cli.md says of manifests in Git that name `suspend`."""
    named = MANIFESTS.replace("  storage: {prefix: some}", "  storage: {prefix: some}\n  suspend: false")
    team.gitops(named)
    oncall.asks("suspend", "cst", "things")
    assert team.there("cst", "things")["spec"]["suspend"] is True
    polite = ("--server-side", "--field-manager", "kustomize-controller")
    with pytest.raises(CommandFailed, match=r'conflict with "pik-suspend".*: \.spec\.suspend'):
        team.applies(*polite, text=named)
    assert team.there("cst", "things")["spec"]["suspend"] is True
    team.gitops(named)  # which forces
    assert team.there("cst", "things")["spec"]["suspend"] is False


def test_kubectl_apply_of_a_manifest_that_names_the_field_sets_it_back(team: Team, oncall: Person) -> None:
    named = MANIFESTS.replace("  storage: {prefix: some}", "  storage: {prefix: some}\n  suspend: false")
    team.applies(text=named)
    oncall.asks("suspend", "cst", "things")
    team.applies(text=named)
    assert team.there("cst", "things")["spec"]["suspend"] is False


def test_what_its_manifest_holds_is_resumed_there(team: Team, oncall: Person) -> None:
    named = MANIFESTS.replace("  storage: {prefix: some}", "  storage: {prefix: some}\n  suspend: true")
    team.gitops(named)
    refused = oncall.asks("resume", "cst", "things", code=1).stderr
    assert "stays suspended: kustomize-controller says so" in refused
    assert team.there("cst", "things")["spec"]["suspend"] is True


async def test_another_object_of_the_same_name_is_not_touched(team: Team, kube_api: KubeApi) -> None:
    there = team.there("rj", "again")
    console = Console(kube_api)
    delete = ("delete", "rj", "again", "-n", team.namespace)
    await asyncio.to_thread(team.cluster.kubectl, *delete)
    with pytest.raises(MadeAnew, match="has just gone"):
        await console.approve(there, PLAN, "me")
    await asyncio.to_thread(team.gitops)
    with pytest.raises(MadeAnew, match="another object of this name"):
        await console.suspend(there)
    assert "approval" not in team.there("rj", "again")["spec"]
    assert "suspend" not in team.there("rj", "again")["spec"]


# replaying


def test_a_replay_by_a_command(team: Team, oncall: Person) -> None:
    replay = ("replay", "things", "--name", "july", *WINDOW, "--to-s3", "s3://bucket-name/some/where")
    assert oncall.asks(*replay).stdout.startswith(f"ReplayJob {team.namespace}/july created\n")
    assert team.there("rj", "july")["spec"]["mode"] == "DryRun"
    assert " unchanged\n" in oncall.asks(*replay).stdout
    assert " configured\n" in oncall.asks(*replay, "--run").stdout
    assert team.there("rj", "july")["spec"]["mode"] == "Run"


def test_what_git_declares_is_changed_there(team: Team, oncall: Person) -> None:
    before: Any = team.there("rj", "again")["spec"]
    replay = ("replay", "things", "--name", "again", *WINDOW, "--to-s3", "s3://bucket-name/some/where")
    refused = oncall.asks(*replay, code=1).stderr
    assert "is declared by somebody else" in refused
    assert 'conflicts with "kustomize-controller": - .spec.select.window.from' in refused
    assert refused.count("\n") == 1
    assert team.there("rj", "again")["spec"] == before


def test_what_the_api_server_does_not_store(team: Team, oncall: Person) -> None:
    refused = oncall.asks(
        *("replay", "things", "--name", "No Name", *WINDOW, "--to-s3", "s3://bucket-name/some"), code=1
    )
    assert "metadata.name" in refused.stderr
