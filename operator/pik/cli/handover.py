"""Objects handed to local mode beside its folder's own manifests: what `pik apply` and the like write."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from pik.api.kinds import AnyResource
from pik.api.manifests import Manifest
from pik.api.validation import admit
from pik.api.violations import InvalidManifest
from pik.cli.shelf import Item, NoSuchResource, NotAdmitted, one_of
from pik.controller.objects import ObjectKey
from pik.domain.errors import PikError
from pik.local.files import read_if_there, write_whole
from pik.local.folder import declared_key, merged, read_folder, without_server_owned
from pik.local.state import Patch, Record, State

_PAUSE = 0.05  # seconds between looks at whether an object is gone


class DeclaredInFolder(PikError):
    """An object is what a file of the folder says: it is changed there."""


class StillThere(PikError):
    """An object that was to be deleted has not gone yet."""


class Change(StrEnum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


def apply(state: State, manifest: Manifest) -> tuple[ObjectKey, Change]:
    """Hands a manifest over; its object is what it says until it is applied again or deleted.

    Raises `NotAdmitted` and `DeclaredInFolder`.
    """
    key = declared_key(manifest)
    if key is None:
        raise NotAdmitted(f"{manifest.place('')}: it names no kind of pik's with a metadata.name")
    _check_undeclared(state, key)
    value = without_server_owned(manifest.value)
    old = state.record(key)
    try:
        admit(value, None if old is None else old.manifest)
    except InvalidManifest as error:
        told = [f"{manifest.place(violation.path)}: {violation}" for violation in error.violations]
        raise NotAdmitted("; ".join(told)) from error
    state.create()
    path, body = state.applied_file(key), orjson.dumps(value, option=orjson.OPT_INDENT_2)  # JSON is YAML
    before = read_if_there(path)
    if before == body:
        return key, Change.UNCHANGED
    write_whole(path, body)
    return key, Change.CREATED if before is None else Change.CONFIGURED


def delete(state: State, record: Record, patience: float) -> bool:
    """Takes back what was applied, and waits until the object is gone where a `pik up` is at work. Whether it
    is gone. Raises `DeclaredInFolder` and `StillThere`."""
    key = record.key
    _check_undeclared(state, key)
    state.applied_file(key).unlink(missing_ok=True)
    deadline = time.monotonic() + patience
    while (there := state.record(key)) is not None and there.uid == record.uid:
        if state.running() is None:
            return False
        if time.monotonic() > deadline:
            raise StillThere(f"{key} is marked for deletion and not gone yet: see `pik describe`")
        time.sleep(_PAUSE)
    return True


def patch(state: State, record: Record, change: Mapping[str, Any]) -> None:
    """Sets fields of an object over what its manifest says (a JSON merge patch). Raises `NotAdmitted`."""
    try:
        admit(merged(without_server_owned(record.manifest), change), record.manifest)
    except InvalidManifest as error:
        raise NotAdmitted("; ".join(map(str, error.violations))) from error
    before = state.patch(record.key)
    kept = before.patch if before is not None and before.uid == record.uid else {}
    state.put_patch(record.key, Patch(record.uid, merged(kept, change)))


def record_of(state: State, kind: type[AnyResource], name: str) -> Record:
    """By `name` or `namespace/name`. Raises `NoState` and `NoSuchResource`."""
    state.check()
    records = {record.key: record for record in state.records() if record.key.kind == kind.KIND}
    items = [Item(record.manifest, record.source) for record in records.values()]
    found = one_of(items, kind, name)
    if found is None:
        raise NoSuchResource(f"there is no {kind.KIND} {name} in the folder {state.directory}")
    return records[found.key]


def _check_undeclared(state: State, key: ObjectKey) -> None:
    declared = read_folder([state.directory]).manifests.get(key)
    if declared is not None:
        raise DeclaredInFolder(f"{key} is declared in {declared.place('')}: change it there")
