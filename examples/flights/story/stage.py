"""What the story is played on, wherever that is: `pik` as a person runs it, objects, AWS, the terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from story.terminal import Terminal, check, command_line

EXAMPLE = Path(__file__).resolve().parent.parent
PIK = Path(sys.executable).with_name("pik")
REGION = "us-east-1"


class Stage(Terminal, ABC):
    """A place where streams are, and a folder for the story's own files."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home = home
        if home.exists():
            shutil.rmtree(home)
        home.mkdir(parents=True)

    @property
    @abstractmethod
    def environ(self) -> Mapping[str, str]:
        """Of the commands that are run."""

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Where the AWS emulator answers."""

    @property
    def where(self) -> tuple[str, ...]:
        """Words before each command of pik."""
        return ()

    # pik, as typed

    def show(self, *arguments: str, lines: int | None = None, fails: bool = False) -> str:
        """Runs `pik …`, shows the command and what it printed (its first `lines`), and returns that."""
        words = (*self.where, *arguments)
        command = [PIK, *words]
        return self.run(command_line("pik", words), command, self.environ, lines=lines, fails=fails)

    def ask(self, *arguments: str, fails: bool = False) -> Any:
        """What `pik … -o json` says, without showing it."""
        done = subprocess.run(
            [PIK, *self.where, *arguments, "-o", "json"],
            env=dict(self.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        check((done.returncode != 0) == fails, f"pik {arguments[0]}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    # objects

    @abstractmethod
    def apply(self, manifest: Path) -> None:
        """Applies a file, as a person does."""

    @abstractmethod
    def look(self, kind: str, name: str | None = None) -> None:
        """Shows objects of a kind, or one."""

    @abstractmethod
    def delete(self, kind: str, name: str) -> None:
        """Deletes an object, as a person does."""

    @abstractmethod
    def resource(self, kind: str, name: str) -> dict[str, Any]:
        """An object with its status."""

    @abstractmethod
    def until(self, kind: str, name: str, condition: str, *, seconds: float = 60) -> dict[str, Any]:
        """Waits for a condition to be True. Raises `StoryBroken` with what is there instead."""

    @abstractmethod
    def feed(self, file: Path, stream: str) -> str:
        """Imports a CSV file, as a person does. Returns what was printed."""

    # AWS, as anybody reaches it

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )

    def s3(self) -> Any:
        return self.client("s3")


def plain_environment() -> dict[str, str]:
    """This process's, without what would lead elsewhere: other AWS accounts, other places of pik, proxies."""
    dropped = ("AWS_", "PIK_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "NO_PROXY": "*", "no_proxy": "*"}
