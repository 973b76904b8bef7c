"""Which place a command looks at: the rule that `pik --help` says."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pik.cli.main import PLACELESS, pik
from pik.cli.where import InCluster, InFolder, Named, Where, decide

HERE = Path()
CONFIG = Path("/home/someone/.kube/config")


def decided(
    named: Named | None = None, *, known: bool = False, config: bool = False, **environ: str
) -> tuple[Where, bool]:
    """Where, and whether something is said about it."""
    home = HERE if not config else CONFIG.parent.parent
    environment = {**environ, **({"KUBECONFIG": str(CONFIG)} if config else {})}
    where, told = decide(named or Named(), environment, is_folder=lambda _: known, home=home)
    return where, bool(told)


def test_what_is_typed_counts_before_anything_else() -> None:
    both = {"PIK_DIR": "there", "PIK_CONTEXT": "prod"}
    assert decided(Named(Path("one")), known=True, config=True, **both) == (InFolder(Path("one")), False)
    for named in (
        Named(namespace="team"),
        Named(everywhere=True),
        Named(context="test"),
        Named(kubeconfig=CONFIG),
    ):
        where, told = decided(named, known=True, config=True, PIK_DIR="there")
        assert isinstance(where, InCluster)
        assert where.kubeconfig == CONFIG
        assert (where.namespace, where.everywhere, where.context) == named[1:4]
        assert not told


def test_then_what_the_environment_says() -> None:
    assert decided(known=True, config=True, PIK_DIR="there") == (InFolder(Path("there")), False)
    assert decided(known=True, config=True, PIK_CONTEXT="prod") == (InCluster(CONFIG, "prod"), False)
    assert decided(Named(namespace="a"), config=True, PIK_CONTEXT="prod") == (
        InCluster(CONFIG, "prod", "a"),
        False,
    )
    assert decided(Named(context="test"), config=True, PIK_CONTEXT="prod")[0] == InCluster(CONFIG, "test")


def test_then_the_current_folder_if_it_is_one_and_else_the_cluster_if_there_is_one() -> None:
    assert decided(known=True) == (InFolder(HERE), False)
    assert decided(config=True) == (InCluster(CONFIG), False)
    assert decided() == (InFolder(HERE), False)  # which says that no `pik up` has worked on it
    assert decided(known=True, config=True) == (InFolder(HERE), True)  # and says so


@pytest.mark.parametrize(
    ("named", "environ"),
    [
        (Named(Path("one"), namespace="team"), {}),
        (Named(Path("one"), everywhere=True), {}),
        (Named(namespace="team", everywhere=True), {}),
        (Named(), {"PIK_DIR": "there", "PIK_CONTEXT": "prod"}),
    ],
)
def test_two_places_are_refused(named: Named, environ: dict[str, str]) -> None:
    with pytest.raises(click.UsageError):
        decided(named, config=True, **environ)


def test_a_kubeconfig_is_found_as_kubectl_finds_it(tmp_path: Path) -> None:
    def found(**environ: str) -> Path | None:
        where, _ = decide(Named(namespace="a"), environ, is_folder=lambda _: False, home=tmp_path)
        assert isinstance(where, InCluster)
        return where.kubeconfig

    assert found() is None
    default = tmp_path / ".kube" / "config"
    default.parent.mkdir()
    default.touch()
    assert found() == default
    assert found(KUBECONFIG="a:b") == Path("a:b")
    assert decide(Named(kubeconfig=Path("c")), {"KUBECONFIG": "a"}, is_folder=bool, home=tmp_path) == (
        InCluster(Path("c")),
        "",
    )


def test_what_stands_after_the_command_is_nearer() -> None:
    before = Named(namespace="a", context="one", kubeconfig=CONFIG)
    assert Named().over(before) == before
    assert Named(namespace="b").over(before) == before._replace(namespace="b")
    assert Named(everywhere=True).over(before) == before._replace(namespace=None, everywhere=True)
    assert Named(namespace="b").over(Named(everywhere=True)) == Named(namespace="b")


def test_the_choice_is_said_where_nothing_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".pik").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(CONFIG))
    chosen = CliRunner().invoke(pik, ["get"])
    assert chosen.stderr.startswith("looking at the current folder")
    assert chosen.stdout == "no objects in the folder .\n"
    assert CliRunner().invoke(pik, ["-C", ".", "get"]).stderr == ""


@pytest.mark.parametrize("name", sorted(PLACELESS))
def test_a_place_that_would_be_ignored_is_refused(name: str) -> None:
    for option in (["-n", "team"], ["-C", "here"], ["-A"]):
        result = CliRunner().invoke(pik, [*option, name])
        assert result.exit_code == 2
        assert f"{name} takes no -C" in result.stderr or "No such command" in result.stderr


@pytest.mark.parametrize("line", ["apply -f .", "delete rj again"])
def test_what_kubectl_does_is_left_to_it(line: str) -> None:
    result = CliRunner().invoke(pik, ["-n", "team", *line.split()])
    assert result.exit_code == 1
    assert f"kubectl {line.split()[0]}" in result.stderr
