"""What lies beside the manifests: whole at any moment, and one process's at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.folders import STREAM, THINGS, Folder
from pik.controller.objects import ObjectKey
from pik.local.files import write_whole
from pik.local.state import AlreadyUp, NoState, State, Up

HOLD = """
import sys
from pathlib import Path
from pik.local.state import State
with State(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_without_state(tmp_path: Path) -> None:
    with pytest.raises(NoState):
        State(tmp_path).check()
    assert State(tmp_path).running() is None


def test_one_process_works_on_a_folder_and_its_end_is_seen(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.create()
    up = Up(1, "http://127.0.0.1:1", None, None)
    state.set_up(up)
    assert state.running() is None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert state.running() == up
        with pytest.raises(AlreadyUp), state.locked():
            pass
    finally:
        holder.kill()  # no farewell
        holder.communicate()
    assert state.running() is None
    assert state.up() == up  # where things lie is still known
    with state.locked():
        pass


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_half_written_is_not_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(STREAM)
    folder.objects.sync()
    record = folder.state.root / "objects" / THINGS.kind / THINGS.namespace
    (record / "tmpabc.part").write_bytes(b'{"manifest": {"kin')
    assert [one.key for one in folder.state.records()] == [THINGS]


def test_the_cluster_keeps_its_name(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.create()
    assert state.cluster("abc") == "local-abc"
    assert state.cluster("def") == "local-abc"


def test_state_is_not_for_version_control(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.create()
    assert "*" in (state.root / ".gitignore").read_text().splitlines()


def test_no_two_objects_share_a_file(tmp_path: Path) -> None:
    state = State(tmp_path)
    keys = [
        ObjectKey("ReplayJob", "a", "b.c"),
        ObjectKey("ReplayJob", "a", "b"),
        ObjectKey("CaptureStream", "a", "b"),
        ObjectKey("ReplayJob", "b", "b"),
    ]
    assert len({state.applied_file(key) for key in keys}) == len(keys)
