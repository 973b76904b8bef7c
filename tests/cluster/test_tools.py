"""Programs, packages and images of the throw-away cluster, as far as they need no cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import clusters_for_tests
from cluster import audit, images, kubeconfig, pip_settings, programs, record, tools
from cluster.errors import ClusterFailed, ClusterImpossible
from cluster.slots import Slot


def test_without_go_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.programs.shutil.which", lambda *_, **__: None)
    with pytest.raises(ClusterImpossible, match="install Go"):
        programs.find(["etcd"], {"XDG_CACHE_HOME": str(tmp_path)})


def test_given_programs_are_used_and_only_what_is_missing_is_looked_for_elsewhere(tmp_path: Path) -> None:
    given, home = tmp_path / "given", tmp_path / "pik" / "kubernetes" / programs.kubernetes_version()
    for path in (given / "etcd", home / "etcd", home / "kubectl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o700)
    environ = {"KUBEBUILDER_ASSETS": str(given), "XDG_CACHE_HOME": str(tmp_path)}
    assert programs.find(["etcd", "kubectl"], environ) == {
        "etcd": given / "etcd",
        "kubectl": home / "kubectl",
    }


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho half >$4; echo no such module >&2; exit 1\n")
    go.chmod(0o700)
    monkeypatch.setattr("cluster.programs.shutil.which", lambda *_, **__: str(go))
    home = tmp_path / "pik" / "kubernetes" / programs.kubernetes_version()
    (home / ".etcd-killed.part").mkdir(parents=True)
    with pytest.raises(ClusterFailed, match="no such module"):
        programs.find(["etcd"], {"XDG_CACHE_HOME": str(tmp_path)})
    assert [one.name for one in home.iterdir()] == [".lock"]


def test_an_image_is_named_by_what_goes_into_it_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "operator" / "__pycache__").mkdir(parents=True)
    for name in ("operator/a.py", "operator/__pycache__/a.pyc", "README.md", "notes"):
        (tmp_path / name).write_text(name)

    def told(into: str) -> str:
        images._copy(tmp_path, ("operator", "README.md"), tmp_path / into)
        return images._hash(tmp_path / into, "name")

    first = told("first")
    assert not (tmp_path / "first" / "operator" / "__pycache__").exists()
    (tmp_path / "notes").write_text("other")
    (tmp_path / "operator" / "__pycache__" / "a.pyc").write_text("other")
    assert told("second") == first
    (tmp_path / "operator" / "a.py").write_text("other")
    assert told("third") != first


def test_pip_settings_are_those_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one\ntimeout = 5\n[install]\npre = yes\n"
    )
    environ = {
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_DEFAULT_TIMEOUT": "180",
        "PIP_CACHE_DIR": "/elsewhere",
        "UV_DEFAULT_INDEX": "https://two/%40",
    }
    found = pip_settings.read(environ)
    lines = found.text.splitlines()
    assert {"index-url = https://two/%40", "pre = yes", "default-timeout = 180"} <= set(lines)
    assert not any("cache" in line for line in lines)
    assert found.folders == (str(tmp_path),)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.tools.missing", lambda wanted: [one for one in wanted if one == "nft"])
    monkeypatch.setattr("cluster.tools.os.geteuid", lambda: 1000)
    said: list[str] = []
    tools.install(said.append, {})
    if tools.os.uname().sysname == "Linux":
        assert "nftables" in said[0]
    assert "skipped" in said[0]


def test_slots_share_nothing() -> None:
    first, second = Slot(0), Slot(1)
    assert (first.host, first.node, first.pods, first.services) == (
        "198.18.0.1",
        "198.18.0.2",
        "198.18.1.0/24",
        "198.18.2.0/24",
    )
    assert (second.node, second.whole, second.link) == ("198.18.8.2", "198.18.8.0/21", "pik1")


def test_the_host_of_a_kubeconfig_is_that_of_its_current_context(tmp_path: Path) -> None:
    config = {
        "contexts": [
            {"name": "one", "context": {"cluster": "a"}},
            {"name": "two", "context": {"cluster": "b"}},
        ],
        "clusters": [
            {"name": "a", "cluster": {"server": "https://one.example:6443"}},
            {"name": "b", "cluster": {"server": "https://127.0.0.1:1"}},
        ],
        "current-context": "two",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    assert kubeconfig.host(tmp_path / "config") == "127.0.0.1"


def test_the_audit_log_tells_who_was_acted_as_and_leaves_a_half_written_line(tmp_path: Path) -> None:
    event = {
        "verb": "patch",
        "requestURI": "/apis/pik.dev/v1alpha1/namespaces/n/replayjobs/r/approval?dryRun=All",
        "user": {"username": "admin", "groups": ["system:masters"]},
        "impersonatedUser": {"username": "jane", "groups": ["team-a"]},
        "objectRef": {
            "apiGroup": "pik.dev",
            "resource": "replayjobs",
            "subresource": "approval",
            "namespace": "n",
        },
        "responseStatus": {"code": 403},
    }
    log = tmp_path / "audit.log"
    log.write_text("{}\n" + json.dumps(event) + "\n" + '{"verb": "ge')
    (asked,) = audit.read(log, offset=3)
    assert (asked.user, asked.groups, asked.verb) == ("jane", ("team-a",), "patch")
    assert (asked.group, asked.resource, asked.subresource, asked.namespace) == (
        "pik.dev",
        "replayjobs",
        "approval",
        "n",
    )
    assert (asked.dry_run, asked.code, asked.name) == (True, 403, "")


def test_a_record_counts_only_while_its_keeper_lives(tmp_path: Path) -> None:
    record.write(tmp_path, record.Record(1, "https://127.0.0.1:1", "config", "log", "pki"))
    assert not record.is_held(tmp_path)
    with record.held(tmp_path):
        assert record.is_held(tmp_path)
    assert not record.is_held(tmp_path)


def test_what_cannot_run_is_skipped_but_not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ClusterImpossible):
        clusters_for_tests.impossible(ClusterImpossible("no Go"))
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no Kubernetes here: no Go"):
        clusters_for_tests.impossible(ClusterImpossible("no Go"))


def test_only_a_cluster_of_this_machine_is_taken_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIK_TEST_CLUSTER", raising=False)
    for host in ("127.0.0.1", "::1", "localhost", "198.18.8.2"):
        clusters_for_tests.check_given(host)
    for host in ("10.0.0.1", "production.example"):
        with pytest.raises(pytest.fail.Exception, match="not this machine"):
            clusters_for_tests.check_given(host)
    monkeypatch.setenv("PIK_TEST_CLUSTER", "10.0.0.1")
    clusters_for_tests.check_given("10.0.0.1")
