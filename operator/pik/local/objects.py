"""The objects of a folder: admitted as an API server would, kept with their status, deleted in two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pik.api.kinds import AnyResource
from pik.api.manifests import Manifest
from pik.api.validation import Admitted, admit
from pik.api.violations import InvalidManifest
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import AnyStatus, ObjectEvent
from pik.domain.instants import Instant
from pik.local.folder import Declared, Fault, merged, read_folder, without_server_owned
from pik.local.state import Patch, Record, State, digest_of, with_events
from pik.ports.system import Clock, Entropy


@dataclass(frozen=True, slots=True)
class Synced:
    """What a look at the folder changed, and what was wrong in it."""

    changed: tuple[ObjectKey, ...]
    faults: tuple[Fault, ...]


class FolderObjects:
    """`controller.objects.Objects` and `ObjectWriter` over a `State`, and the only writer of its objects.
    `changed` is told of every object that was created, changed or marked for deletion, `told` of events."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        entropy: Entropy,
        *,
        changed: Callable[[ObjectKey], None],
        told: Callable[[ObjectKey, ObjectEvent], None] = lambda *_: None,
    ) -> None:
        self._state = state
        self._clock = clock
        self._entropy = entropy
        self._changed = changed
        self._records = {record.key: record for record in state.records()}
        self._typed: dict[ObjectKey, AnyResource] = {}
        self._told = told

    def find(self, key: ObjectKey) -> AnyResource | None:
        record = self._records.get(key)
        if record is None:
            return None
        if key not in self._typed:
            self._typed[key] = record.resource
        return self._typed[key]

    def keys(self) -> Sequence[ObjectKey]:
        return sorted(self._records)

    def sync(self) -> Synced:
        """Brings the objects to what the folder declares."""
        declared = read_folder([self._state.directory, self._state.applied])
        changed: list[ObjectKey] = []
        faults = list(declared.faults)
        for key, manifest in declared.manifests.items():
            try:
                if self._admit(key, manifest):
                    changed.append(key)
            except InvalidManifest as error:
                faults += [
                    Fault(manifest.place(violation.path), str(violation)) for violation in error.violations
                ]
        changed += [key for key in self._undeclared(declared) if self._mark_deleted(key)]
        for key in changed:
            self._changed(key)
        return Synced(tuple(changed), tuple(faults))

    def expect(self, manifest: Manifest) -> Admitted:
        """The verdict on a manifest, with nothing stored. Raises `InvalidManifest`."""
        candidate = without_server_owned(manifest.value)
        old = self._records.get(_key(candidate))
        return admit(candidate, None if old is None else old.manifest)

    # writes of passes

    async def write_status(self, resource: AnyResource, status: AnyStatus) -> None:
        record = self._same(resource)
        if record is None:
            return
        new = status.to_manifest()
        if record.manifest.get("status") != new:
            self._put(record, {**record.manifest, "status": new})

    async def record(self, resource: AnyResource, events: Sequence[ObjectEvent]) -> None:
        record = self._same(resource)
        if record is not None:
            self._store(with_events(record, events, self._clock.now()))
            for event in events:
                self._told(record.key, event)

    async def delete(self, resource: AnyResource) -> None:
        """The object has outlived its purpose: its manifest, if it still lies in the folder, is not taken up
        again until it is changed."""
        record = self._same(resource)
        if record is None:
            return
        key = record.key
        self._state.applied_file(key).unlink(missing_ok=True)
        declared = read_folder([self._state.directory]).manifests.get(key)
        if declared is not None:
            self._state.set_expired(key, digest_of(declared.value))
        if self._mark_deleted(key):
            self._changed(key)

    async def hold(self, resource: AnyResource, *, held: bool) -> bool:  # noqa: ARG002
        return True  # every object of a folder waits for `finalized`

    async def finalized(self, resource: AnyResource) -> bool:
        record = self._same(resource)
        if record is not None:
            self._state.remove(record.key)
            del self._records[record.key]
            self._typed.pop(record.key, None)
            self.sync()  # its manifest may be back
        return True

    # one object

    def _admit(self, key: ObjectKey, manifest: Manifest) -> bool:
        """Whether the object was created or changed. Raises `InvalidManifest`."""
        old = self._records.get(key)
        if old is None and self._is_expired(key, manifest):
            return False
        candidate = without_server_owned(manifest.value)
        patch = self._patch_for(key, old)
        if patch is not None:
            candidate = merged(candidate, patch.patch)
        new = admit(candidate, None if old is None else old.manifest).manifest
        if old is None:
            created = _created(new, self._entropy.hex(32), self._clock.now())
            self._store(Record(created, manifest.source))
            return True
        if "deletionTimestamp" in old.manifest["metadata"]:
            return False  # first it has to go
        if manifest.source != old.source:
            old = msgspec.structs.replace(old, source=manifest.source)
            self._store(old)
        before, after = old.manifest["metadata"], new["metadata"]
        respecified = new["spec"] != old.manifest["spec"]
        relabelled = any(before.get(name) != after.get(name) for name in ("labels", "annotations"))
        if not respecified and not relabelled:
            return False
        kept = {name: before[name] for name in ("uid", "creationTimestamp", "resourceVersion")}
        generation = before["generation"] + respecified
        self._put(old, {**new, "metadata": {**after, **kept, "generation": generation}})
        return True

    def _is_expired(self, key: ObjectKey, manifest: Manifest) -> bool:
        expired = self._state.expired(key)
        if expired is None:
            return False
        if expired == digest_of(manifest.value):
            return True
        self._state.set_expired(key, None)
        return False

    def _patch_for(self, key: ObjectKey, old: Record | None) -> Patch | None:
        patch = self._state.patch(key)
        return patch if patch is not None and old is not None and patch.uid == old.uid else None

    def _undeclared(self, declared: Declared) -> list[ObjectKey]:
        """Objects whose manifest is gone for certain: not those of a file that cannot be read."""
        return [
            key
            for key, record in self._records.items()
            if key not in declared.manifests
            and not any(
                record.source == place or record.source.startswith(f"{place}/")
                for place in declared.unreadable
            )
        ]

    def _mark_deleted(self, key: ObjectKey) -> bool:
        record = self._records[key]
        meta = record.manifest["metadata"]
        if "deletionTimestamp" in meta:
            return False
        marked = {**meta, "deletionTimestamp": _seconds(self._clock.now())}
        self._put(record, {**record.manifest, "metadata": marked})
        return True

    def _same(self, resource: AnyResource) -> Record | None:
        record = self._records.get(key_of(resource))
        return record if record is not None and record.uid == resource.metadata.uid else None

    def _put(self, record: Record, manifest: dict[str, Any]) -> None:
        meta = manifest["metadata"]
        version = str(int(record.manifest["metadata"]["resourceVersion"]) + 1)
        stored = {**manifest, "metadata": {**meta, "resourceVersion": version}}
        self._store(msgspec.structs.replace(record, manifest=stored))

    def _store(self, record: Record) -> None:
        self._state.put(record)
        self._records[record.key] = record
        self._typed.pop(record.key, None)


def _created(manifest: dict[str, Any], entropy: str, now: Instant) -> dict[str, Any]:
    uid = "-".join((entropy[:8], entropy[8:12], f"4{entropy[13:16]}", f"8{entropy[17:20]}", entropy[20:32]))
    meta = {
        **manifest["metadata"],
        "uid": uid,
        "creationTimestamp": _seconds(now),
        "generation": 1,
        "resourceVersion": "1",
    }
    return {**manifest, "metadata": meta}


def _key(manifest: dict[str, Any]) -> ObjectKey:
    meta = manifest.get("metadata", {})
    return ObjectKey(str(manifest.get("kind")), meta.get("namespace") or "default", str(meta.get("name")))


def _seconds(now: Instant) -> str:
    return f"{now.text[:19]}Z"
