"""What the pages show of Helm, kubectl, Flux and Argo CD: commands are understood, manifests admitted."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, Helm
from cluster.errors import CommandFailed
from cluster.handle import Cluster
from clusters_for_tests import established
from docs.pages import DOCS, PAGES, ROOT, Block, blocks

pytestmark = pytest.mark.cluster

_PATIENCE = 60.0

CRDS = {  # of others, as their Go modules have them, with their checksums
    "github.com/fluxcd/source-controller@v1.7.0": (
        "h1:/fBgS4CSmT5Jj/fjQDF92y+pC3gst1GJjgNSzY8Ff9I=",
        "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
    ),
    "github.com/fluxcd/helm-controller@v1.4.0": (
        "h1:rkm8rmB6Na7eNc4pJOnvtXEaJ19iKluRtayHKjBxcUM=",
        "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",
    ),
    "github.com/fluxcd/kustomize-controller@v1.7.3": (
        "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    "github.com/argoproj/argo-cd/v3@v3.1.0": (
        "h1:2+gPskQKCyPC9DzRSWQ1AvmS3WiIlRR7bKz/FO3DozI=",
        "manifests/crds/application-crd.yaml",
    ),
}


def typed(*programs: str) -> list[Any]:
    """Command lines of the pages that begin with one of these programs."""
    return [
        pytest.param(shlex.split(command, comments=True), id=f"{block.page.name}: {command[:70]}")
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        for command in line.split(" | ")
        if command.split(" ")[0] in programs
    ]


def is_values(block: Block) -> bool:
    return block.text.startswith("# values.yaml\n")


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """All that are not pik's own, which tests/docs admits."""
    for page in PAGES:
        for block in blocks(page, "yaml"):
            for manifest in () if is_values(block) else yaml.safe_load_all(block.text):
                if not manifest["apiVersion"].startswith("pik.dev/"):
                    yield str(block), manifest


def crd(module: str) -> str:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CRDs of others come with Go modules, and there is no Go", pytrace=False)
        pytest.skip("CRDs of others come with Go modules: install Go (https://go.dev)")
    done = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd=Path(os.sep),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    told = json.loads(done.stdout)
    checksum, path = CRDS[module]
    assert told.get("Sum") == checksum, told.get("Error", told)
    return (Path(told["Dir"]) / path).read_text(encoding="utf-8")


def understood(usage: str, words: list[str]) -> None:
    """Every flag is one that the program's help has."""
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", usage), word


def admitted(cluster: Cluster, manifest: dict[str, Any]) -> str:
    """What kubectl prints. Raises CommandFailed, but not before discovery has heard of the kind."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return cluster.kubectl(
                *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
                stdin=json.dumps(manifest),
            )
        except CommandFailed as error:
            if "no matches for kind" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize("words", typed("helm"))
def test_every_line_of_helm_is_understood(helm: Helm, words: list[str]) -> None:
    _, verb, *rest = words
    understood(helm(verb, "--help"), rest)
    settings = [word for at, word in enumerate(rest) if rest[at - 1] == "--set" or word == "--set"]
    if "charts/pik" in rest and verb != "package":
        helm("template", "pik", CHART, "--set", "clusterName=c", *settings)


@pytest.mark.parametrize("words", typed("kubectl"))
def test_every_line_of_kubectl_is_understood(cluster: Cluster, words: list[str]) -> None:
    rest = [word for word in words[1:] if word != "&"]
    while rest[0] in ("-n", "--namespace"):
        rest = rest[2:]
    understood(cluster.kubectl(rest[0], "--help") + cluster.kubectl("options"), rest[1:])


def test_the_first_two_commands_do_what_they_say(cluster: Cluster, release: Helm) -> None:
    """But for what only pods can do."""
    first, then, *_ = blocks(DOCS / "install.md", "sh")
    install, apply = (shlex.split(line) for line in first.text.splitlines())
    assert install[:4] == ["helm", "install", "pik", "charts/pik"]
    assert "deployed" in release(*install[1:3], CHART, *install[4:])
    assert apply == ["kubectl", "apply", "-f", "examples/flights/weather.yaml"]
    assert "weather created" in cluster.kubectl(*apply[1:3], ROOT / apply[3])
    assert "capturestream/weather" in then.text
    cluster.kubectl("get", "capturestream/weather")
    assert "weather" in cluster.kubectl("get", "pik")


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page, "yaml") if is_values(block)], ids=str
)
def test_values_on_the_pages_are_taken(helm: Helm, block: Block) -> None:
    assert helm("template", "pik", CHART, "--values", "-", stdin=block.text)


def test_manifests_on_the_pages_are_admitted(cluster: Cluster) -> None:
    """By a server that has the CRDs of Flux and Argo CD, with unknown fields refused."""
    for module in CRDS:
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=crd(module))
    established(cluster)
    shown = list(manifests())
    kinds = {manifest["kind"] for _, manifest in shown}
    assert {"HelmRelease", "Kustomization", "Application", "RoleBinding", "NetworkPolicy"} <= kinds
    for namespace in {manifest["metadata"]["namespace"] for _, manifest in shown} - {"default"}:
        cluster.kubectl("create", "namespace", namespace)
    for place, manifest in shown:
        if manifest["kind"] == "Pod":  # it is refused without its account
            where = ("-n", manifest["metadata"]["namespace"])
            cluster.kubectl("create", "serviceaccount", manifest["spec"]["serviceAccountName"], *where)
        told = admitted(cluster, manifest)
        assert "serverside-applied" in told, place


def test_the_patch_for_argo_cd_can_be_applied(cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "argocd-cm", "--from-literal=url=https://argocd.example")
    cluster.kubectl("patch", "configmap", "argocd-cm", "--patch-file", CHART / "argocd" / "argocd-cm.yaml")
    held = json.loads(cluster.kubectl("get", "configmap", "argocd-cm", "-o", "json"))["data"]
    assert len(held) == 4
    assert held["url"]
