"""What a running cluster says of itself, in a file of its directory that is there once it is ready."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "cluster.json"
_LOCK = "keeper.lock"


@dataclass(frozen=True)
class Record:
    """A cluster that is ready. Paths as text."""

    pid: int  # of its keeper
    server: str
    kubeconfig: str  # of its administrator
    audit: str  # log
    pki: str  # directory of its certificate authority
    machine: int = 0  # pid of the first process of the node's machine; 0: it has no node
    node: str = ""  # address of the node
    network: str = ""  # range of all addresses, of pods and Services too
    aws: str = ""  # endpoint of the AWS emulator that pods reach


def write(directory: Path, record: Record) -> None:
    """Whole or not at all."""
    part = directory / f".{_NAME}.part"
    part.write_text(json.dumps(asdict(record)))
    part.rename(directory / _NAME)


def read(directory: Path) -> Record | None:
    """None: not ready, or not there."""
    try:
        return Record(**json.loads((directory / _NAME).read_text()))
    except FileNotFoundError:
        return None


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """For as long as the block lasts, this process keeps the cluster of this directory."""
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(directory: Path) -> bool:
    """Whether a process does: else what is recorded there is of one that was killed."""
    try:
        with (directory / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove(directory: Path) -> None:
    """It is not ready any more."""
    (directory / _NAME).unlink(missing_ok=True)
