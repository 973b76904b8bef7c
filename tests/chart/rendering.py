"""The chart as Helm renders it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cluster import programs
from docs.pages import ROOT

CHART = ROOT / "charts" / "pik"
VALUES = Path(__file__).parent / "values"
FILES = tuple(sorted(path.stem for path in VALUES.glob("*.yaml")))

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Helm:
    """`environment`: of the program; where it names a cluster, that one is written to."""

    program: Path
    environment: Mapping[str, str]

    def run(self, *words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *map(str, words)],
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def __call__(self, *words: str | Path, stdin: str | None = None) -> str:
        """What it prints; it succeeds."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


def helm_of(home: Path, environment: Mapping[str, str]) -> Helm:
    """A Helm that keeps to itself in `home`."""
    own = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    return Helm(programs.find([programs.HELM], os.environ)[programs.HELM], {**environment, **own})


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders each question once."""

    helm: Helm
    _texts: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __call__(
        self, *values: str, release: str = "pik", namespace: str = "pik-system", **extra: Any
    ) -> list[Manifest]:
        """Every manifest, also of tests. `values`: names of files; `extra`: values over them."""
        words = ("template", release, str(CHART), "--namespace", namespace, *value_files(*values))
        more = json.dumps(extra)
        key = (*words, more)
        if key not in self._texts:
            self._texts[key] = self.helm(*words, "--values", "-", stdin=more)
        return [found for found in yaml.safe_load_all(self._texts[key]) if found]


def value_files(*names: str) -> list[str]:
    """Words of a command for files of values."""
    return [word for name in names for word in ("--values", str(VALUES / f"{name}.yaml"))]


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    return found


def pods(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Every pod, or what a Deployment makes pods of, as a Pod."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest
        elif "template" in manifest.get("spec", {}):
            template = manifest["spec"]["template"]
            meta = {**template["metadata"], "name": manifest["metadata"]["name"]}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def environment_of(pod: Manifest) -> dict[str, str | None]:
    """The variables of its one container; None for one that is not given as a text."""
    (container,) = pod["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container.get("env", ())}


def rules(manifests: Sequence[Manifest], *names: str) -> list[dict[str, list[str]]]:
    """The rules of the Roles and ClusterRoles of these names."""
    roles = of_kind(manifests, "Role", "ClusterRole")
    return [rule for role in roles if role["metadata"]["name"] in names for rule in role["rules"]]
