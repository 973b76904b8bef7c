"""What those that wait for objects make of pik's: Argo CD by the shipped script, Flux by its libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from lupa import lua51

from controller.clusters import kstatus as computed
from docs.pages import DOCS, ROOT, blocks
from gitops.conftest import Flux
from gitops.states import Meaning, State, states
from pik.api.conditions import REASONS, ConditionType, Reason
from pik.api.kinds import KINDS

STATES = list(states())
PATCH = ROOT / "charts" / "pik" / "argocd" / "argocd-cm.yaml"
Health = Callable[[dict[str, Any]], tuple[str, str]]

ARGO = {
    Meaning.NEW: "Progressing",
    Meaning.DONE: "Healthy",
    Meaning.MOVING: "Progressing",
    Meaning.STUCK: "Degraded",
    Meaning.CHANGED: "Progressing",
}
KSTATUS = {
    Meaning.NEW: "Current",
    Meaning.DONE: "Current",
    Meaning.MOVING: "InProgress",
    Meaning.STUCK: "Failed",
    Meaning.CHANGED: "InProgress",
}


def health(kind: str) -> Health:
    """The script for a kind, in the Lua that Argo CD has: 5.1, with the basic functions and `table` alone."""
    script = yaml.safe_load(PATCH.read_text())["data"][f"resource.customizations.health.pik.dev_{kind}"]
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    runtime.execute("string, math, io, os, debug, package, require = nil")
    given = runtime.globals()

    def ask(manifest: dict[str, Any]) -> tuple[str, str]:
        given.obj = runtime.table_from(manifest, recursive=True)
        answer = runtime.execute(script)
        return answer.status, answer.message

    return ask


def argo(state: State) -> str:
    if state.meaning is not Meaning.HELD:
        return ARGO[state.meaning]
    # a dry run is over when it has planned; the others wait for a person
    return "Healthy" if state.reason is Reason.PLANNED else "Suspended"


@pytest.mark.parametrize("state", STATES, ids=str)
def test_argo_cd_says_what_the_state_means(state: State) -> None:
    status, message = health(state.kind)(state.manifest)
    assert status == argo(state)
    assert state.reason is None or message.startswith(f"{state.reason.value}: ")


def test_there_is_a_script_for_each_kind_and_the_same_one() -> None:
    scripts = yaml.safe_load(PATCH.read_text())["data"]
    assert scripts.keys() == {f"resource.customizations.health.pik.dev_{kind}" for kind in KINDS}
    assert len(set(scripts.values())) == 1


def test_every_documented_reason_is_among_the_states() -> None:
    shown = {(state.kind, state.reason) for state in STATES}
    told = {(kind, reason) for kind, by in REASONS.items() for reasons in by.values() for reason in reasons}
    parts = {  # of a part, not the whole
        *(Reason.DISABLED, Reason.UNKNOWN, Reason.APPROVED, Reason.WITHIN_POLICY),
        *REASONS["ReplayJob"][ConditionType.RECONCILED],
    }
    assert {(kind, reason) for kind, reason in told - shown if reason not in parts} == set()


def test_kstatus_says_what_the_state_means(flux: Flux) -> None:
    """A replay that waits for a person is Current: nobody times out over it. What the others say of a new
    object and of one with `suspend` is set right by the expressions of the next test."""
    found = flux.kstatus([state.manifest for state in STATES])
    for state, status in zip(STATES, found, strict=True):
        if state.meaning is Meaning.HELD:
            assert status == ("Current" if state.kind == "ReplayJob" else "InProgress"), state
        else:
            assert status == KSTATUS[state.meaning], state


def test_the_expressions_of_the_page_say_what_the_state_means(flux: Flux) -> None:
    (checks,) = [
        manifest["spec"]["healthCheckExprs"]
        for block in blocks(DOCS / "gitops.md", "yaml")
        for manifest in yaml.safe_load_all(block.text)
        if manifest["kind"] == "Kustomization"
    ]
    assert {check["kind"] for check in checks} == KINDS.keys()
    wanted = {
        **KSTATUS,
        Meaning.NEW: "InProgress",
        Meaning.HELD: "Current",
    }
    for check in checks:
        expressions = {name: check[name] for name in ("current", "failed", "inProgress") if name in check}
        ours = [state for state in STATES if state.kind == check["kind"]]
        found = flux.health(expressions, [state.manifest for state in ours])
        for state, status in zip(ours, found, strict=True):
            assert status == wanted[state.meaning], state


def test_the_tests_own_kstatus_is_the_real_one(flux: Flux) -> None:
    manifests = [state.manifest for state in STATES]
    ours = [computed(KINDS[state.kind].from_manifest(state.manifest)) for state in STATES]
    assert ours == flux.kstatus(manifests)
