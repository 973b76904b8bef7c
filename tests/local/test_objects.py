"""Local mode's objects: what an API server would make of the folder's manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.folders import STREAM, THINGS, Folder
from pik.api.capture_stream import CaptureStream
from pik.api.conditions import Reason
from pik.api.kinds import AnyResource
from pik.api.stream_status import CaptureStreamStatus
from pik.controller.manager import Manager, Reconcilers
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Done, EventType, ObjectEvent, Pass
from pik.controller.queue import WorkQueue
from pik.local.objects import FolderObjects
from pik.local.state import Patch
from pik.memory.system import SeededEntropy


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def found(folder: Folder) -> CaptureStream:
    resource = folder.objects.find(THINGS)
    assert isinstance(resource, CaptureStream)
    return resource


def test_a_manifest_becomes_an_object_with_what_a_server_adds(folder: Folder) -> None:
    folder.write(STREAM)
    synced = folder.objects.sync()
    assert synced.changed == (THINGS,)
    assert synced.faults == ()
    assert folder.changed == [THINGS]
    meta = found(folder).metadata
    assert (meta.generation, meta.creationTimestamp) == (1, "2026-03-01T12:00:00Z")
    assert meta.uid is not None
    assert found(folder).spec.storage.deletionPolicy == "Retain"  # defaults are set
    assert folder.objects.sync().changed == ()


def test_the_next_process_finds_the_same_objects(folder: Folder) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    again = folder.again()
    assert again.find(THINGS) == found(folder)
    assert again.sync().changed == ()


async def test_generation_counts_changes_of_the_spec_alone(folder: Folder) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    await folder.objects.write_status(found(folder), CaptureStreamStatus(streamID="s"))
    folder.write(STREAM.replace("{name: things}", "{name: things, labels: {a: b}}"))
    assert folder.objects.sync().changed == (THINGS,)
    assert (found(folder).metadata.generation, found(folder).metadata.labels) == (1, {"a": "b"})
    uid = found(folder).metadata.uid
    folder.write(STREAM + "  suspend: true\n")
    folder.objects.sync()
    now = found(folder)
    assert (now.metadata.generation, now.metadata.uid, now.spec.suspend) == (2, uid, True)
    assert now.status.streamID == "s"  # a manifest has nothing to say about it


def test_status_and_server_fields_of_a_manifest_do_not_count(folder: Folder) -> None:
    folder.write(
        STREAM.replace("{name: things}", "{name: things, uid: mine, generation: 7, resourceVersion: '9'}")
        + "status: {streamID: forged}\n"
    )
    assert folder.objects.sync().faults == ()
    assert found(folder).metadata.generation == 1
    assert found(folder).metadata.uid != "mine"
    assert found(folder).status.streamID is None


def test_immutable_is_immutable(folder: Folder) -> None:
    path = folder.write(STREAM)
    folder.objects.sync()
    folder.write(STREAM.replace("prefix: some", "prefix: other"))
    (fault,) = folder.objects.sync().faults
    assert fault.place == f"{path}:6"
    assert "immutable" in fault.message
    assert found(folder).spec.storage.prefix == "some"


@pytest.mark.parametrize(
    "broken",
    [
        "kind: [",
        STREAM + "  retention: 3\n",
        STREAM.replace("prefix: some", "prefix: 7"),
        "not a map",
        STREAM.replace("kind: CaptureStream", "kind: Captur"),
        STREAM.replace("metadata: {name: things}", "metadata: {}"),
    ],
)
async def test_a_manifest_that_is_broken_changes_nothing_and_deletes_nothing(
    folder: Folder, broken: str
) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    before = found(folder)
    path = folder.write(broken)
    synced = folder.objects.sync()
    assert synced.changed == ()
    assert synced.faults
    assert str(path) in str(synced.faults[0])
    assert found(folder) == before


def test_a_folder_that_is_gone_deletes_nothing(folder: Folder, tmp_path: Path) -> None:
    inside = Folder(_made(tmp_path / "inside"))
    inside.write(STREAM)
    inside.objects.sync()
    (tmp_path / "inside").rename(tmp_path / "elsewhere")
    synced = inside.objects.sync()
    assert synced.changed == ()
    assert synced.faults


async def test_a_manifest_that_is_gone_is_a_deletion_in_two_steps(folder: Folder) -> None:
    path = folder.write(STREAM)
    folder.objects.sync()
    path.unlink()
    assert folder.objects.sync().changed == (THINGS,)
    marked = found(folder)
    assert marked.metadata.deletionTimestamp is not None
    assert folder.objects.sync().changed == ()
    folder.write(STREAM)  # it comes back before it is gone: first it has to go
    assert folder.objects.sync().changed == ()
    await folder.objects.finalized(marked)
    assert found(folder).metadata.deletionTimestamp is None
    assert found(folder).metadata.uid != marked.metadata.uid


async def test_a_manifest_that_is_back_before_its_object_is_gone_is_taken_up(folder: Folder) -> None:
    path = folder.write(STREAM)
    passes: list[str] = []

    async def reconcile(resource: AnyResource) -> Pass:
        passes.append("reconcile")
        return Pass(resource.status, Done(Reason.PROVISIONED))

    async def finalize(resource: AnyResource) -> Pass:
        passes.append("finalize")
        folder.write(STREAM)
        return Pass(resource.status, Done(Reason.PROVISIONED))

    async def forget(_: ObjectKey) -> None: ...

    queue = WorkQueue(folder.clock)
    objects = FolderObjects(
        folder.state, folder.clock, SeededEntropy(1), changed=lambda key: manager.changed(key)
    )
    reconcilers = Reconcilers(reconcile, lambda _: True, finalize, forget)
    manager = Manager(objects, objects, reconcilers, queue, folder.clock, SeededEntropy(2))

    async def settle() -> None:
        objects.sync()
        while queue.has_due():
            key = await queue.take()
            await manager.one(key)
            queue.done(key)

    await settle()
    path.unlink()
    await settle()
    assert passes == ["reconcile", "finalize", "reconcile"]


def test_a_manifest_that_moves_to_another_file_is_the_same_object(folder: Folder) -> None:
    path = folder.write(STREAM)
    folder.objects.sync()
    uid = found(folder).metadata.uid
    path.rename(folder.path / "renamed.yaml")
    assert folder.objects.sync().changed == ()
    folder.write("kind: [", "stream.yaml")  # where it was, which no longer matters
    folder.objects.sync()
    assert found(folder).metadata.uid == uid
    (folder.path / "renamed.yaml").unlink()
    assert folder.objects.sync().changed == (THINGS,)


def test_an_object_that_is_declared_twice(folder: Folder) -> None:
    folder.write(STREAM, "a.yaml")
    folder.write(STREAM + "  suspend: true\n", "b.yaml")
    synced = folder.objects.sync()
    assert [fault.place for fault in synced.faults] == [f"{folder.path / 'b.yaml'}:4"]
    assert not found(folder).spec.suspend


def test_other_files_are_not_manifests(folder: Folder) -> None:
    folder.write("no manifest", "README.md")
    folder.write(STREAM, ".stream.yaml.swp")
    folder.write(STREAM, ".hidden.yaml")
    assert folder.objects.sync().faults == ()
    assert folder.objects.keys() == []


async def test_what_people_set_lies_over_the_manifest_for_this_object_only(folder: Folder) -> None:
    path = folder.write(STREAM)
    folder.objects.sync()
    uid = found(folder).metadata.uid
    assert uid is not None
    folder.state.put_patch(THINGS, Patch(uid, {"spec": {"suspend": True}}))
    folder.objects.sync()
    assert found(folder).spec.suspend
    assert found(folder).metadata.generation == 2
    folder.write(STREAM.replace("{prefix: some}", "{prefix: some, tags: {a: b}}"))
    folder.objects.sync()
    assert (found(folder).spec.suspend, found(folder).spec.storage.tags) == (True, {"a": "b"})
    path.unlink()
    folder.objects.sync()
    await folder.objects.finalized(found(folder))
    folder.state.put_patch(THINGS, Patch(uid, {"spec": {"suspend": True}}))  # for the one that is gone
    folder.write(STREAM)
    folder.objects.sync()
    folder.objects.sync()
    assert not found(folder).spec.suspend


async def test_a_status_is_written_only_where_it_differs_and_for_the_same_object(folder: Folder) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    resource = found(folder)
    await folder.objects.write_status(resource, CaptureStreamStatus(streamID="s"))
    version = found(folder).metadata.resourceVersion
    await folder.objects.write_status(resource, CaptureStreamStatus(streamID="s"))
    assert found(folder).metadata.resourceVersion == version
    other = resource.model_copy(update={"metadata": resource.metadata.model_copy(update={"uid": "another"})})
    await folder.objects.write_status(other, CaptureStreamStatus(streamID="forged"))
    assert found(folder).status.streamID == "s"


async def test_an_expired_object_stays_away_until_its_manifest_changes(folder: Folder) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    await folder.objects.delete(found(folder))
    await folder.objects.finalized(found(folder))
    assert folder.objects.find(THINGS) is None
    assert folder.again().sync().changed == ()
    folder.write(STREAM + "  suspend: true\n")
    assert folder.objects.sync().changed == (THINGS,)


async def test_an_applied_manifest_goes_with_its_object(folder: Folder) -> None:
    applied = folder.state.applied_file(THINGS)
    applied.write_text(STREAM)
    folder.objects.sync()
    await folder.objects.delete(found(folder))
    assert not applied.exists()
    await folder.objects.finalized(found(folder))
    applied.write_text(STREAM)
    assert folder.objects.sync().changed == (THINGS,)


async def test_events_are_counted_and_bounded(folder: Folder) -> None:
    folder.write(STREAM)
    folder.objects.sync()
    for number in range(60):
        folder.clock.advance(1)
        event = ObjectEvent(EventType.NORMAL, "Other", f"number {number}")
        await folder.objects.record(found(folder), [event, ObjectEvent(EventType.WARNING, "Same", "again")])
    record = folder.state.record(THINGS)
    assert record is not None
    assert len(record.events) == 50
    same = record.events[-1]
    assert (same.reason, same.count) == ("Same", 60)
    assert same.first < same.last
    assert len(folder.told) == 120


def _made(path: Path) -> Path:
    path.mkdir()
    return path
