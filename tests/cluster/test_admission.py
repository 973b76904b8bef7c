"""The table of manifests at a real API server: the same verdict as local mode's, on the same fields, in the
same words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.exceptions import ApiException

from api.table import FOLDER, Case, bad, good, texts, updates
from cluster.errors import CommandFailed
from cluster.handle import Cluster
from clusters_for_tests import Kubectl
from pik.api.common import API_VERSION, GROUP, VERSION
from pik.api.kinds import KINDS
from pik.api.manifests import load_path
from pik.api.validation import admit
from pik.api.violations import InvalidManifest
from pik.cluster.api import configuration

Said = tuple[str, str]
"""Field and message."""

UNKNOWN = re.compile(r'unknown field "([^"]+)"')
UNEVALUATED = re.compile(r"Invalid value: .*? evaluating rule: (?P<message>.*)", re.DOTALL)


class Server:
    """Asks whether it would store a manifest, and stores none for good."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._api = CustomObjectsApi(client)
        self.namespace = namespace

    def verdict(self, case: Case) -> list[Said] | None:
        """What it says against it; None: nothing."""
        if case.old is None:
            return self._said(lambda: self._create(self._placed(case.manifest), dry_run="All"))
        old = self._placed(case.old)
        there = self._create({name: value for name, value in old.items() if name != "status"})
        where = (GROUP, VERSION, self.namespace, KINDS[old["kind"]].PLURAL, old["metadata"]["name"])
        try:
            if "status" in old:
                there = self._api.replace_namespaced_custom_object_status(
                    *where, {**there, "status": old["status"]}
                )
            version = {"resourceVersion": there["metadata"]["resourceVersion"]}
            new = self._placed(case.manifest)
            changed = {**new, "metadata": {**new["metadata"], **version}}
            return self._said(
                lambda: self._api.replace_namespaced_custom_object(
                    *where, changed, dry_run="All", field_validation="Strict"
                )
            )
        finally:
            self._api.delete_namespaced_custom_object(*where)

    def _placed(self, manifest: dict[str, Any]) -> dict[str, Any]:
        meta = manifest["metadata"]
        return manifest if meta.get("namespace") == "a.b" else {
            **manifest,
            "metadata": {**meta, "namespace": self.namespace},
        }  # fmt: skip

    def _create(self, manifest: dict[str, Any], **options: str) -> Any:
        plural = KINDS[manifest["kind"]].PLURAL
        return self._api.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, plural, manifest, field_validation="Strict", **options
        )

    def _said(self, ask: Callable[[], object]) -> list[Said] | None:
        try:
            ask()
        except ApiException as error:
            if error.status not in (400, 404, 422):
                raise
            told = json.loads(error.body)
            causes = told.get("details", {}).get("causes", [])
            return [(cause["field"], cause["message"]) for cause in causes] or [("", told["message"])]
        return None


@pytest.fixture
def server(control_plane: Cluster, kube_namespace: str) -> Iterator[Server]:
    with ApiClient(configuration(control_plane.kubeconfig)) as client:
        yield Server(client, kube_namespace)


def local(case: Case) -> list[Said] | None:
    """The verdict of local mode, in the same form."""
    old = None
    if case.old is not None:
        old = {**admit(case.old).manifest, "status": case.old.get("status", {})}
    try:
        admit(case.manifest, old)
    except InvalidManifest as refusal:
        return [(violation.path, violation.message) for violation in refusal.violations]
    return None


def comparable(theirs: list[Said], mine: list[Said]) -> tuple[list[Said], list[Said]]:
    """What has to be equal of an API server's answer and of local mode's.

    An API server that does not know a field says nothing else. That rules were not checked it says of a field
    `<nil>`. A rule that could not be evaluated it tells with the reason why, and also where a part of the
    value is told to be wrong, which is why.
    """
    if len(theirs) == 1 and "strict decoding error" in theirs[0][1]:
        fields = UNKNOWN.findall(theirs[0][1])
        return [(field, f'unknown field "{field}"') for field in fields], [
            said for said in mine if said[1].startswith("unknown field")
        ]
    told = [("", message.removeprefix("Invalid value: null: ")) if field == "<nil>" else (field, message)
            for field, message in theirs]  # fmt: skip
    evaluated = [said for said in told if UNEVALUATED.fullmatch(said[1]) is None]
    for field, message in told:
        failed = UNEVALUATED.fullmatch(message)
        if failed is None or any(place.startswith(field) for place, _ in evaluated):
            continue
        same = [said for said in mine if said[0] == field and said[1].endswith(failed["message"])]
        inside = any(place.startswith(field) and place != field for place, _ in mine)
        evaluated += same or ([] if inside else [(field, message)])
    return sorted(evaluated), sorted(mine)


def known(case: Case) -> bool:
    return case.manifest.get("kind") in KINDS and case.manifest.get("apiVersion") == API_VERSION


def test_the_verdict_is_local_modes_in_the_same_words(server: Server) -> None:
    differing = []
    cases = [case for case in [*good(), *bad(), *updates()] if known(case)]
    for case in cases:
        theirs, mine = server.verdict(case), local(case)
        if theirs is None or mine is None:
            same = theirs is mine
        else:
            same = case.client or len({*map(repr, comparable(theirs, mine))}) == 1
        if not same:
            differing.append((case.name, theirs, mine))
    assert differing == []
    assert len(cases) > 300


def test_a_kind_or_version_that_is_not_served_is_refused_in_the_same_words(
    kubectl: Kubectl, kube_namespace: str
) -> None:
    cases = [case for case in bad() if not known(case) and case.manifest.get("kind")]
    assert len(cases) == 2
    for case in cases:
        with pytest.raises(CommandFailed) as refusal:
            kubectl(
                "create", "--dry-run=server", "-n", kube_namespace, "-f", "-", stdin=json.dumps(case.manifest)
            )
        assert case.message in str(refusal.value)


@pytest.mark.parametrize("file", [file for file, _ in texts()], ids=lambda file: file.stem)
def test_what_local_mode_cannot_read_kubectl_does_not_take(
    kubectl: Kubectl, kube_namespace: str, file: Path
) -> None:
    if file.stem == "repeated-key":
        # local mode is stricter: kubectl lets the last one win, without a word
        kubectl("create", "--dry-run=server", "-n", kube_namespace, "-f", file)
        return
    with pytest.raises(CommandFailed):
        kubectl("create", "--dry-run=server", "-n", kube_namespace, "-f", file)


def test_what_is_written_is_read_and_completed_alike(kubectl: Kubectl, kube_namespace: str) -> None:
    """The same text gives the same object: numbers, nulls, defaults."""
    files = sorted([*FOLDER.glob("base/*.yaml"), *FOLDER.glob("good/*.yaml")])
    for file in files:
        (manifest,) = load_path(file)
        text = re.sub(r"^  namespace: .*\n", "", file.read_text(), flags=re.MULTILINE)
        shown = kubectl(
            "create", "--dry-run=server", "-n", kube_namespace, "-o", "yaml", "-f", "-", stdin=text
        )
        assert yaml.safe_load(shown)["spec"] == admit(manifest.value).manifest["spec"], file.name
