"""The terminal that the story is told on: chapters, commands as typed with what they print, promises kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text


class StoryBroken(Exception):
    """What was promised did not happen; the text says what."""


def check(holds: bool, promise: str) -> None:
    """Raises `StoryBroken` unless the promise holds."""
    if not holds:
        raise StoryBroken(promise)


class Terminal:
    """Where the story is told."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self._timings: list[tuple[str, float]] = []

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """A part of the story, timed."""
        self._rule(title)
        began = time.monotonic()
        yield
        self._timings.append((title, time.monotonic() - began))

    def say(self, text: str) -> None:
        self.console.print(text)

    def proved(self, text: str) -> None:
        self.console.print(f"[green]✓[/green] {text}")

    def typed(self, command: str) -> None:
        self.console.print(Text(f"$ {command}", style="bold cyan"), soft_wrap=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(text, total=None)
            yield

    def run(
        self,
        typed: str,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        *,
        cwd: Path | None = None,
        lines: int | None = None,
        fails: bool = False,
    ) -> str:
        """Runs a command, shows what was typed and what it printed (its first `lines`), and returns that.

        `fails`: it is to end with an error, which is shown. Raises `StoryBroken` where it ends otherwise.
        """
        self.typed(typed)
        environment = {**environ, "COLUMNS": str(self.console.width)}
        if self.console.is_terminal:
            environment["FORCE_COLOR"] = "1"
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if fails else None,
            text=True,
            check=False,
        )
        shown = done.stdout.rstrip("\n").split("\n") if done.stdout.strip() else []
        for line in shown[:lines]:
            self.console.print(Text.from_ansi(line), soft_wrap=True)  # a table is one line a row
        if lines is not None and len(shown) > lines:
            self.console.print(f"[dim]… {len(shown) - lines} more lines[/dim]")
        check((done.returncode != 0) == fails, f"`{typed}` ended with {done.returncode}")
        return done.stdout

    def end(self, seconds: float) -> None:
        """How long each chapter took, and all of them."""
        self._rule("The end")
        for title, took in self._timings:
            self.console.print(f"  {took:6.1f} s  {title}")
        self.console.print(f"  {seconds:6.1f} s  in all, on {os.cpu_count()} cores")

    def next_commands(self, commands: Sequence[str]) -> None:
        self.console.print("\nTry next:")
        for command in commands:
            self.console.print(f"  [bold cyan]{command}[/bold cyan]", soft_wrap=True)  # to be copied

    def _rule(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(title, style="bold"), align="left", style="blue"))


def command_line(program: str, arguments: Sequence[str]) -> str:
    """A command as a person would type it here: paths from the current folder, quotes where they are due."""
    words = [os.path.relpath(word) if Path(word).is_absolute() else word for word in arguments]
    return " ".join([program, *map(_quoted, words)])


def _quoted(argument: str) -> str:
    return f"'{argument}'" if any(sign in argument for sign in " *<>|&") else argument
