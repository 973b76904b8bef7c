"""Writes the CRDs: `python -m pik.api.generate [--check] [DIRECTORY]` (default: crds).

With --check nothing is written, and the exit code is 1 where a file differs from what would be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pik.api.crd import crd_of
from pik.api.kinds import KINDS

_HEADER = "# Generated from operator/pik/api by `python -m pik.api.generate`: change the models instead.\n"
_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Long texts as folded blocks, lists indented, no anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = ">" if len(text) > 60 and " " in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rendered() -> dict[str, str]:
    """File name → text of each CRD, the same for the same models."""
    return {
        f"{model.PLURAL}.yaml": _HEADER
        + yaml.dump(crd_of(model), Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
        for model in KINDS.values()
    }


def main(arguments: Sequence[str]) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pik.api.generate", description="Writes the CRDs.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("crds"))
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    options = parser.parse_args(arguments)
    differing = []
    for name, text in rendered().items():
        path: Path = options.directory / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(path)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in differing:
        sys.stdout.write(f"{path}: {'differs from the models' if options.check else 'written'}\n")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
