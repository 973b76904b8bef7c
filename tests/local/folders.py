"""A folder of manifests, and its objects."""

from __future__ import annotations

from pathlib import Path

from pik.controller.objects import ObjectKey
from pik.controller.outcome import ObjectEvent
from pik.domain.instants import parse_instant
from pik.local.objects import FolderObjects
from pik.local.state import State
from pik.memory.system import ManualClock, SeededEntropy

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: things}
spec:
  storage: {prefix: some}
"""
THINGS = ObjectKey("CaptureStream", "default", "things")


class Folder:
    """`objects` is the only process that works on it; `again` is the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock(parse_instant("2026-03-01T12:00:00Z"))
        self.state = State(path)
        self.state.create()
        self.changed: list[ObjectKey] = []
        self.told: list[tuple[ObjectKey, ObjectEvent]] = []
        self.objects = self.again()

    def again(self) -> FolderObjects:
        return FolderObjects(
            self.state,
            self.clock,
            SeededEntropy(len(self.changed)),
            changed=self.changed.append,
            told=lambda key, event: self.told.append((key, event)),
        )

    def write(self, text: str, name: str = "stream.yaml") -> Path:
        path = self.path / name
        path.write_text(text)
        return path
