"""What the story is played on: `pik` as a person runs it, and the terminal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

EXAMPLE = Path(__file__).resolve().parent.parent
PIK = Path(sys.executable).with_name("pik")


class StoryBroken(Exception):
    """What was promised did not happen; the text says what."""


def check(holds: bool, promise: str) -> None:
    """Raises `StoryBroken` unless the promise holds."""
    if not holds:
        raise StoryBroken(promise)


class Stage:
    """A working copy of the example under `home`, a local mode that reconciles it, and the terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "flights"
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self.timings: list[tuple[str, float]] = []
        self._up: subprocess.Popen[str] | None = None
        self.log = home / "pik-up.log"
        self._environment = {**os.environ, "PIK_DIR": str(self.folder), "NO_PROXY": "*"}
        if home.exists():
            shutil.rmtree(home)
        home.mkdir(parents=True)
        self.folder.mkdir()
        for name in ("flights.yaml", "weather.yaml"):
            shutil.copy(EXAMPLE / name, self.folder / name)

    # the terminal

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """A part of the story, timed."""
        self.console.print()
        self.console.print(Rule(Text(title, style="bold"), align="left", style="blue"))
        began = time.monotonic()
        yield
        self.timings.append((title, time.monotonic() - began))

    def say(self, text: str) -> None:
        self.console.print(text)

    def proved(self, text: str) -> None:
        self.console.print(f"[green]✓[/green] {text}")

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(text, total=None)
            yield

    # pik, as typed

    def show(self, *arguments: str, lines: int | None = None, fails: bool = False) -> str:
        """Runs `pik …`, shows the command and what it printed (its first `lines`), and returns that."""
        arguments = tuple(os.path.relpath(a) if Path(a).is_absolute() else a for a in arguments)
        self.console.print(f"[bold cyan]$ pik {' '.join(map(_quoted, arguments))}[/bold cyan]")
        environment = {**self._environment, "COLUMNS": str(self.console.width)}
        if self.console.is_terminal:
            environment["FORCE_COLOR"] = "1"
        done = subprocess.run(
            [PIK, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        shown = done.stdout.rstrip("\n").split("\n")
        for line in shown[:lines]:
            self.console.print(Text.from_ansi(line))
        if lines is not None and len(shown) > lines:
            self.console.print(f"[dim]… {len(shown) - lines} more lines[/dim]")
        check((done.returncode != 0) == fails, f"pik {arguments[0]} ended with {done.returncode}")
        return done.stdout

    def ask(self, *arguments: str, fails: bool = False) -> Any:
        """What `pik … -o json` says, without showing it."""
        done = subprocess.run(
            [PIK, *arguments, "-o", "json"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        check((done.returncode != 0) == fails, f"pik {arguments[0]}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def resource(self, kind: str, name: str) -> dict[str, Any]:
        """An object with its status."""
        found: dict[str, Any] = self.ask("get", kind, name)
        return found

    def until(self, kind: str, name: str, condition: str, *, seconds: float = 60) -> dict[str, Any]:
        """Waits for a condition to be True. Raises `StoryBroken` with what is there instead."""
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

    # AWS, as anybody reaches it

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        endpoint = json.loads((self.folder / ".pik" / "up.json").read_text())["endpoint"]
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )

    def s3(self) -> Any:
        return self.client("s3")

    # local mode

    def up(self) -> None:
        """Starts `pik up`, or starts it again."""
        with self.log.open("a", encoding="utf-8") as log:
            self._up = subprocess.Popen(
                [PIK, "up", str(self.folder), "--emulator"],
                env=self._environment,
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
        self.console.print()
        self.console.print(Rule(Text("The end", style="bold"), align="left", style="blue"))
        for title, took in self.timings:
            self.console.print(f"  {took:6.1f} s  {title}")
        self.console.print(f"  {seconds:6.1f} s  in all, on {os.cpu_count()} cores")
        folder, pik = os.path.relpath(self.folder), os.path.relpath(PIK)
        self.console.print(f"\nManifests, objects and their status: {folder}")
        day = "--from 2013-07-10T04:00:00Z --to 2013-07-11T04:00:00Z"
        commands = [
            f"{pik} -C {folder} inspect late flights --known-by ReceivedTime {day}",
            f"{pik} -C {folder} diff delay-at-midnight delay-finally --by payload.origin",
        ]
        if keep and self._up is not None:
            self.console.print(f"`pik up` and the emulator go on; stop both: kill -INT {self._up.pid}")
            commands.insert(0, f"{pik} -C {folder} get")
        else:
            self.console.print("What was started has been stopped; nothing that was stored is lost.")
            commands.insert(
                0, f"{pik} up {folder} --emulator      # goes on where it ended; then, elsewhere:"
            )
        self.console.print("\nTry next:")
        for command in commands:
            self.console.print(f"  [bold cyan]{command}[/bold cyan]")


def _quoted(argument: str) -> str:
    return f"'{argument}'" if any(sign in argument for sign in " *<>|&") else argument
