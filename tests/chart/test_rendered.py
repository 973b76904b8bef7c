"""What the chart renders, without a cluster."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import Any

import click
import pytest
import yaml

from chart.rendering import (
    CHART,
    FILES,
    Helm,
    Manifest,
    Renderer,
    environment_of,
    named,
    of_kind,
    pods,
    rules,
    value_files,
)
from docs.pages import ROOT
from pik.cli.main import pik

_OF_THE_CLUSTER = {
    *("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
}


@pytest.mark.parametrize("values", FILES)
def test_it_passes_the_strict_linter(helm: Helm, values: str) -> None:
    helm("lint", "--strict", CHART, *value_files(values))


def test_without_a_cluster_name_it_says_what_one_is(helm: Helm) -> None:
    refused = helm.run("template", "pik", CHART)
    assert refused.returncode
    assert "clusterName is required" in refused.stderr
    assert "--set clusterName=" in refused.stderr


def test_versions_are_those_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == chart["version"] == project["version"]
    assert f"ARG VERSION={project['version']}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("values", FILES)
def test_objects_are_told_apart_and_are_where_they_belong(render: Renderer, values: str) -> None:
    manifests = render(values, namespace="somewhere")
    keys = Counter(
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in manifests
    )
    assert keys.most_common(1)[0][1] == 1
    for manifest in manifests:
        is_of_the_cluster = manifest["kind"] in _OF_THE_CLUSTER
        assert ("namespace" in manifest["metadata"]) != is_of_the_cluster, manifest["metadata"]
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "pik"


@pytest.mark.parametrize("values", FILES)
def test_nothing_secret_is_rendered(render: Renderer, values: str) -> None:
    assert not of_kind(render(values), "Secret")


@pytest.mark.parametrize("values", FILES)
def test_selectors_find_the_pods_they_mean_and_no_workers(render: Renderer, values: str) -> None:
    manifests = render(values)
    made = list(pods(manifests))
    worker = {
        "app.kubernetes.io/name": "pik",
        "app.kubernetes.io/managed-by": "pik",
        "app.kubernetes.io/component": "worker",
    }
    found: list[tuple[Manifest, dict[str, str]]] = [
        *((one, one["spec"]["selector"]) for one in of_kind(manifests, "Service")),
        *(
            (one, one["spec"]["selector"]["matchLabels"])
            for one in of_kind(manifests, "Deployment", "PodDisruptionBudget")
        ),
        *((one, one["spec"]["podSelector"]["matchLabels"]) for one in of_kind(manifests, "NetworkPolicy")),
    ]
    for manifest, selector in found:
        component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
        chosen = [pod for pod in made if selector.items() <= pod["metadata"]["labels"].items()]
        components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in chosen}
        assert components == ({component} - {"worker"})
        assert (selector.items() <= worker.items()) == (component == "worker")


@pytest.mark.parametrize("values", FILES)
def test_each_process_is_told_by_its_options_and_by_no_others(
    render: Renderer, monkeypatch: pytest.MonkeyPatch, values: str
) -> None:
    """And takes what it is told."""
    for pod in pods(of_kind(render(values), "Deployment")):
        (container,) = pod["spec"]["containers"]
        (name,) = container["args"]
        command = pik.get_command(click.Context(pik), name)
        assert command is not None
        told = environment_of(pod)
        known = {
            option.envvar
            for option in command.params
            if isinstance(option, click.Option) and isinstance(option.envvar, str)
        }
        assert {variable for variable in told if variable.startswith("PIK_")} <= known, name
        with monkeypatch.context() as environ:
            for variable, value in told.items():
                environ.setenv(variable, value or "from-the-pod")
            command.make_context(name, [])


@pytest.mark.parametrize("values", FILES)
def test_addresses_that_are_told_are_those_of_services(render: Renderer, values: str) -> None:
    manifests = render(values, namespace="somewhere")
    ports = {
        (f"{one['metadata']['name']}.somewhere.svc", port["port"])
        for one in of_kind(manifests, "Service")
        for port in one["spec"]["ports"]
    }
    text = yaml.safe_dump_all(of_kind(manifests, "Deployment", "Pod"))
    told = re.findall(r"(https?)://([a-z-]+\.somewhere\.svc)(?::(\d+))?", text)
    assert told
    for scheme, host, port in told:
        assert (host, int(port or {"http": 80, "https": 443}[scheme])) in ports


@pytest.mark.parametrize(
    ("values", "reviews", "tokens"),
    [
        ("full", "true", "shop/orders-token,billing/token"),
        ("namespaced", "false", None),
    ],
)
def test_the_operator_is_told_how_the_gateway_knows_callers(
    render: Renderer, values: str, reviews: str, tokens: str | None
) -> None:
    found = [environment_of(pod) for pod in pods(of_kind(render(values), "Deployment"))]
    (told,) = [each for each in found if "PIK_EXECUTOR" in each]
    assert (told["PIK_GATEWAY_REVIEWS"], told.get("PIK_GATEWAY_TOKENS")) == (reviews, tokens)


def test_a_namespaced_install_has_no_right_over_the_cluster(render: Renderer) -> None:
    manifests = render("namespaced", namespace="pik-system")
    assert not of_kind(manifests, "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
    roles = of_kind(manifests, "Role", "RoleBinding")
    assert {one["metadata"]["namespace"] for one in roles} == {"shop", "billing", "pik-system"}
    here = [one["metadata"]["name"] for one in roles if one["metadata"]["namespace"] == "pik-system"]
    assert set(here) == {"pik-leader"}
    assert {
        environment_of(pod).get("PIK_WATCH_NAMESPACES") for pod in pods(of_kind(manifests, "Deployment"))
    } == {"shop,billing"}


def test_who_calls_can_be_asked_in_a_namespaced_install_where_that_is_allowed(render: Renderer) -> None:
    allowed = render("namespaced", gateway={"authentication": {"tokenReview": "Enabled"}})
    (role,) = of_kind(allowed, "ClusterRole")
    assert {rule["resources"][0] for rule in role["rules"]} == {"tokenreviews", "subjectaccessreviews"}
    refused = render("least", gateway={"authentication": {"tokenReview": "Disabled"}})
    assert not [
        one for one in rules(refused, "pik-gateway-reviews", "pik-gateway") if "create" in one["verbs"]
    ]


@pytest.mark.parametrize("values", FILES)
def test_rights_are_named_one_by_one(render: Renderer, values: str) -> None:
    for role in of_kind(render(values), "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert not [word for words in rule.values() for word in words if "*" in word]


@pytest.mark.parametrize("values", FILES)
def test_neither_process_may_read_secrets_or_grant_itself_more(render: Renderer, values: str) -> None:
    manifests = render(values)
    accounts = {pod["spec"].get("serviceAccountName") for pod in pods(of_kind(manifests, "Deployment"))}
    bound = {
        binding["roleRef"]["name"]
        for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding")
        if {subject["name"] for subject in binding["subjects"]} & accounts
    }
    assert bound
    resources = {resource for rule in rules(manifests, *bound) for resource in rule["resources"]}
    assert resources <= {
        *("capturestreams", "replayjobs", "aggregateversions"),
        *("capturestreams/status", "replayjobs/status", "aggregateversions/status"),
        *("events", "jobs", "pods", "leases", "namespaces", "endpointslices"),
        *("tokenreviews", "subjectaccessreviews"),
    }
    verbs = {verb for rule in rules(manifests, *bound) for verb in rule["verbs"]}
    assert verbs.isdisjoint({"impersonate", "escalate", "bind", "deletecollection"})


def test_the_approver_is_added_to_no_role_of_kubernetes(render: Renderer) -> None:
    manifests = render("least")
    aggregated = {
        role["metadata"]["name"]: sorted(
            label.rpartition("/")[2] for label in role["metadata"]["labels"] if "aggregate-to" in label
        )
        for role in of_kind(manifests, "ClusterRole")
    }
    assert aggregated["pik-viewer"] == ["aggregate-to-view"]
    assert aggregated["pik-editor"] == ["aggregate-to-admin", "aggregate-to-edit"]
    assert sorted(name for name, labels in aggregated.items() if labels) == ["pik-editor", "pik-viewer"]
    approving = [
        role["metadata"]["name"]
        for role in of_kind(manifests, "ClusterRole")
        for rule in role["rules"]
        if "replayjobs/approval" in rule["resources"]
    ]
    assert approving == ["pik-approver"]


@pytest.mark.parametrize("values", FILES)
def test_crds_are_kept_and_can_be_left_to_another_release(render: Renderer, values: str) -> None:
    crds = of_kind(render(values), "CustomResourceDefinition")
    assert {crd["metadata"]["annotations"]["helm.sh/resource-policy"] for crd in crds} <= {"keep"}
    assert len(crds) == (0 if values in ("namespaced", "in-process") else 3)


def test_crds_are_those_of_the_models(render: Renderer) -> None:
    for crd in of_kind(render("least"), "CustomResourceDefinition"):
        source = yaml.safe_load((ROOT / "crds" / f"{crd['spec']['names']['plural']}.yaml").read_text())
        assert crd["spec"] == source["spec"]


def test_another_name_of_the_release_gives_other_names(render: Renderer) -> None:
    one, other = (
        {
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for each in render("least", release=release, crds={"install": False})
            if "Admission" not in each["kind"]  # one for the whole cluster, by a name that is asked for
        }
        for release in ("pik", "second")
    )
    assert not one & other


def test_the_role_map_is_what_was_given(render: Renderer) -> None:
    manifests = render("full")
    held = yaml.safe_load(named(manifests, "ConfigMap", "capture-roles")["data"]["roles.yaml"])
    given: Any = yaml.safe_load((ROOT / "tests/chart/values/full.yaml").read_text())
    assert held == {name: given[name] for name in ("roles", "functionRoles", "sources")}
    none = named(render("least"), "ConfigMap", "pik-roles")
    assert yaml.safe_load(none["data"]["roles.yaml"]) == {"roles": [], "functionRoles": [], "sources": []}


def test_the_notes_say_what_to_do_next(helm: Helm) -> None:
    def notes(*values: str) -> str:
        told = helm(
            *("install", "pik", CHART, "--dry-run=client", "--namespace", "pik-system"),
            *value_files(*values),
        )
        return told.partition("NOTES:")[2]

    assert "kubectl wait --for=condition=Ready cst/orders" in notes("least")
    assert "http://pik-gateway.pik-system.svc/v1/streams/" in notes("least")
    assert "kubectl -n shop apply" in notes("namespaced")
    assert "tokenReview to Enabled" in notes("namespaced")
    assert "posted to" not in notes("in-process")
    assert "https://events.example.com/v1/streams/" in notes("full")
