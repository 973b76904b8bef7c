"""Writes what of the chart follows from other files: `python charts/generate.py [--check]`.

- templates/crds/*.yaml from the models: the CRDs, kept when the release is uninstalled;
- the table of values in README.md from values.schema.json and values.yaml;
- argocd/argocd-cm.yaml, the patch that gives Argo CD the health of pik's kinds, from argocd/health.lua.

With --check nothing is written, and the exit code is 1 where a file differs from what would be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pik.api import generate
from pik.api.common import GROUP
from pik.api.kinds import KINDS

CHART = Path(__file__).resolve().parent / "pik"
_NAME = re.compile(r"^metadata:\n  name: \S+\n", re.MULTILINE)
_TABLE = re.compile(r"(<!-- generated: values -->\n).*?(<!-- end -->)", re.DOTALL)
_KEPT = """\
  annotations:
    helm.sh/resource-policy: keep
    argocd.argoproj.io/sync-options: Delete=false,Prune=false
  labels:
    {{- include "pik.labels" . | nindent 4 }}
"""


class NotATemplate(ValueError):
    """The text cannot be made a template: it is not laid out as it was."""


def crd_template(text: str) -> str:
    """A CRD as a template. Raises NotATemplate."""
    escaped = re.sub(r"\{\{|\}\}", lambda braces: f"{{{{ `{braces[0]}` }}}}", text)
    marked, count = _NAME.subn(lambda head: f"{head[0]}{_KEPT}", escaped, count=1)
    if not count:
        raise NotATemplate("a CRD without a name")
    return f"{{{{- if .Values.crds.install }}}}\n{marked}{{{{- end }}}}\n"


def values_table() -> str:
    """A row for each value, in the order of the schema."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = ["| value | default | what it is |", "| --- | --- | --- |"]
    for name, node, default in _values(schema, schema["$defs"], defaults, ""):
        text = node["description"].replace("|", "\\|")
        if "enum" in node:
            text += f" One of {', '.join(node['enum'])}."
        rows.append(f"| `{name}` | `{json.dumps(default)}` | {text} |")
    return "".join(f"{row}\n" for row in rows)


def _values(
    node: Mapping[str, Any], defs: Mapping[str, Any], defaults: Any, path: str
) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    for name, child in node["properties"].items():
        if not path and name == "global":
            continue
        place = f"{path}.{name}" if path else name
        known = {**defs[child["$ref"].removeprefix("#/$defs/")], **child} if "$ref" in child else child
        default = defaults[name]
        if "properties" in known and name not in ("resources", "affinity"):  # those are Kubernetes' own
            yield from _values(known, defs, default, place)
        else:
            yield place, known, default


def health_patch() -> str:
    """A patch of Argo CD's ConfigMap argocd-cm: one script for each kind."""
    script = (CHART / "argocd" / "health.lua").read_text(encoding="utf-8")
    lines = ["# Generated from health.lua by `python charts/generate.py`.", "data:"]
    for kind in KINDS:
        lines.append(f"  resource.customizations.health.{GROUP}_{kind}: |")
        lines += [f"    {line}" if line else "" for line in script.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def files() -> Mapping[Path, str]:
    """Every generated file, as it should be."""
    readme = CHART / "README.md"
    return {
        **{
            CHART / "templates" / "crds" / name: crd_template(text)
            for name, text in generate.rendered().items()
        },
        CHART / "argocd" / "argocd-cm.yaml": health_patch(),
        readme: _TABLE.sub(
            lambda table: f"{table[1]}{values_table()}{table[2]}", readme.read_text(encoding="utf-8")
        ),
    }


def main(check: bool) -> int:
    """Writes, or with `check` compares. Returns the exit code."""
    differing = [
        path
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in differing:
        if not check:
            path.write_text(files()[path], encoding="utf-8")
        sys.stdout.write(
            f"{path.relative_to(CHART.parents[1])}: {'differs from its source' if check else 'written'}\n"
        )
    return 1 if check and differing else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    sys.exit(main(parser.parse_args().check))
