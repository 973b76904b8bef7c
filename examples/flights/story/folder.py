"""Local mode: a folder of manifests that `pik up` reconciles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from story.stage import EXAMPLE, PIK, Stage, plain_environment
from story.terminal import StoryBroken, check


class Folder(Stage):
    """A working copy of the example under `home`, and a local mode that reconciles it."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.folder = home / "flights"
        self.log = home / "pik-up.log"
        self._up: subprocess.Popen[str] | None = None
        self.folder.mkdir()
        for name in ("flights.yaml", "weather.yaml"):
            shutil.copy(EXAMPLE / name, self.folder / name)

    @property
    def environ(self) -> Mapping[str, str]:
        return {**plain_environment(), "PIK_DIR": str(self.folder)}

    @property
    def endpoint(self) -> str:
        told: str = json.loads((self.folder / ".pik" / "up.json").read_text())["endpoint"]
        return told

    # objects

    def apply(self, manifest: Path) -> None:
        self.show("apply", "-f", str(manifest))

    def look(self, kind: str, name: str | None = None) -> None:
        self.show("get", kind, *([name] if name else []))

    def delete(self, kind: str, name: str) -> None:
        self.show("delete", kind, name)

    def resource(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("get", kind, name)
        return found

    def until(self, kind: str, name: str, condition: str, *, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self.resource(kind, name)
                conditions = {c["type"]: c for c in found.get("status", {}).get("conditions", [])}
                if conditions.get(condition, {}).get("status") == "True":
                    return found
                there = json.dumps(found.get("status"), indent=1)
            except StoryBroken as not_there_yet:
                there = str(not_there_yet)
            if time.monotonic() > deadline:
                raise StoryBroken(f"{kind} {name} is not {condition}: {there}")
            time.sleep(0.2)

    def feed(self, file: Path, stream: str) -> str:
        return self.show("import", str(file), "--stream", stream, "--null", "NA")

    # `pik up`

    def up(self) -> None:
        """Starts `pik up`, or starts it again."""
        with self.log.open("a", encoding="utf-8") as log:
            self._up = subprocess.Popen(
                [PIK, "up", str(self.folder), "--emulator"],
                env=dict(self.environ),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL: no farewell. The emulator lives on."""
        check(self._up is not None and self._up.poll() is None, f"pik up has ended; see {self.log}")
        assert self._up is not None
        self._up.kill()
        self._up.wait()

    def down(self) -> None:
        """Ctrl-C, and the clean stop that follows: it stops the emulator that it started."""
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
            self._up.wait(timeout=60)

    def farewell(self, seconds: float, *, keep: bool) -> None:
        """Where the results are, and what to try next."""
        self.end(seconds)
        folder, pik = os.path.relpath(self.folder), os.path.relpath(PIK)
        self.say(f"\nManifests, objects and their status: {folder}")
        day = "--from 2013-07-10T04:00:00Z --to 2013-07-11T04:00:00Z"
        commands = [
            f"{pik} -C {folder} inspect late flights --known-by ReceivedTime {day}",
            f"{pik} -C {folder} diff delay-at-midnight delay-finally --by payload.origin",
        ]
        if keep and self._up is not None:
            self.say(f"`pik up` and the emulator go on; stop both: kill -INT {self._up.pid}")
            commands.insert(0, f"{pik} -C {folder} get")
        else:
            self.say("What was started has been stopped; nothing that was stored is lost.")
            commands.insert(
                0, f"{pik} up {folder} --emulator      # goes on where it ended; then, elsewhere:"
            )
        self.next_commands(commands)
