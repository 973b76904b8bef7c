"""The table of good and bad manifests: manifests/good, manifests/bad.yaml, manifests/updates.yaml and
manifests/text. Local mode and an API server give the same verdict on each."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pik.api.manifests import load_path, load_text

FOLDER = Path(__file__).parent / "manifests"
Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A manifest to create, or with `old` (as stored, status and all) to change.

    `path` None: it is admitted. Otherwise it is refused with `message` in what is said of the field at
    `path`; `client`: an API server refuses it too, in words of its own.
    """

    name: str
    manifest: Json
    old: Json | None = None
    path: str | None = None
    message: str = ""
    client: bool = False


def good() -> list[Case]:
    files = sorted([*FOLDER.glob("base/*.yaml"), *FOLDER.glob("good/*.yaml")])
    return [Case(f"{file.stem}", manifest.value) for file in files for manifest in load_path(file)]


def bad() -> list[Case]:
    return [
        Case(
            row["name"],
            patched(base(row["base"]), row["patch"]),
            path=row["path"],
            message=row["message"],
            client=row.get("client", False),
        )
        for row in _rows("bad.yaml")
    ]


def updates() -> list[Case]:
    return [
        Case(
            row["name"],
            patched(base(row["base"]), row["new"]),
            patched(base(row["base"]), row["old"]),
            path=row.get("path"),
            message=row.get("message", ""),
        )
        for row in _rows("updates.yaml")
    ]


def texts() -> list[tuple[Path, str]]:
    """Files that cannot be read, and `line: message` of what is said of them."""
    files = sorted(FOLDER.glob("text/*.yaml"))
    return [(file, file.read_text().splitlines()[0].removeprefix("# expect: ")) for file in files]


def base(name: str) -> Json:
    (manifest,) = load_path(FOLDER / "base" / f"{name}.yaml")
    return manifest.value


def patched(value: Any, patch: Any) -> Any:
    """RFC 7386, and the shorthands that bad.yaml tells of."""
    match patch:
        case {"$repeat": [str(text), int(times)]}:
            return text * times
        case {"$items": [str(text), int(times)]}:
            return [f"{text}{number}" for number in range(times)]
        case {"$map": [str(text), int(times)]}:
            return {f"{text}{number}": "x" for number in range(times)}
        case dict():
            result = dict(value) if isinstance(value, dict) else {}
            for name, item in patch.items():
                if item is None:
                    result.pop(name, None)
                else:
                    result[name] = patched(result.get(name), item)
            return result
        case list():
            return [patched(None, item) for item in patch]
        case _:
            return deepcopy(patch)


def _rows(file: str) -> list[Json]:
    text = (FOLDER / file).read_text()
    (document,) = load_text(f"rows:\n{text}", file)
    rows: list[Json] = document.value["rows"]
    return rows
