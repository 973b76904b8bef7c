"""A folder's manifests: what they declare, and what is wrong with them.

A manifest that cannot be read or is not admitted changes nothing: its object stays as it was admitted last.
Above all it is not taken for deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pik.api.kinds import KINDS
from pik.api.manifests import SUFFIXES, Manifest, UnreadableManifest, load_path
from pik.controller.objects import ObjectKey

_SERVER_OWNED = frozenset(
    {
        *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"),
        *("deletionGracePeriodSeconds", "selfLink", "managedFields", "ownerReferences", "finalizers"),
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """`place`: file and line."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


@dataclass(frozen=True, slots=True)
class Declared:
    """`manifests`: by key, the first one of each. `unreadable`: files of which nobody knows what they
    declare."""

    manifests: Mapping[ObjectKey, Manifest]
    faults: tuple[Fault, ...]
    unreadable: frozenset[str]


def read_folder(folders: Iterable[Path]) -> Declared:
    """The manifests that lie in the folders themselves (none below them). A folder that is gone is an
    unreadable one."""
    manifests: dict[ObjectKey, Manifest] = {}
    faults: list[Fault] = []
    unreadable: set[str] = set()
    for folder in folders:
        try:
            files = sorted(file for file in folder.iterdir() if is_manifest(file))
        except OSError as error:
            faults.append(Fault(str(folder), error.strerror or str(error)))
            unreadable.add(str(folder))
            continue
        for file in files:
            try:
                found = load_path(file)
            except UnreadableManifest as error:
                faults.append(Fault("", str(error)))
                unreadable.add(str(file))
                continue
            for manifest in found:
                key = declared_key(manifest)
                if key is None:
                    unreadable.add(str(file))
                    faults.append(_no_object(manifest))
                elif key in manifests:
                    message = f"{key} is declared in {manifests[key].place()} already"
                    faults.append(Fault(manifest.place("metadata.name"), message))
                else:
                    manifests[key] = manifest
    return Declared(manifests, tuple(faults), frozenset(unreadable))


def is_manifest(path: Path) -> bool:
    """Whether a file in a folder of manifests is read as one."""
    return path.suffix in SUFFIXES and not path.name.startswith(".")


def declared_key(manifest: Manifest) -> ObjectKey | None:
    """Which object a manifest is about, whatever else is wrong with it; None where it does not say."""
    value = manifest.value
    meta = value.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    kind = value.get("kind")
    if kind not in KINDS or not isinstance(name, str) or not name:
        return None
    namespace = meta.get("namespace") if isinstance(meta, dict) else None
    return ObjectKey(str(kind), namespace if isinstance(namespace, str) and namespace else "default", name)


def without_server_owned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without status and the metadata that only an API server sets."""
    meta = {name: value for name, value in manifest.get("metadata", {}).items() if name not in _SERVER_OWNED}
    return {name: value for name, value in manifest.items() if name != "status"} | {"metadata": meta}


def merged(value: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), part)
    return result


def _no_object(manifest: Manifest) -> Fault:
    kind = manifest.value.get("kind")
    if kind in KINDS:
        return Fault(manifest.place("metadata"), "metadata.name: Required value: a name is required")
    known = ", ".join(KINDS)
    return Fault(manifest.place("kind"), f"kind: no matches for kind {kind!r} (pik knows {known})")
