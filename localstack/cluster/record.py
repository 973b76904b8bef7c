"""What a running cluster says of itself, in a file of its directory that is there once it is ready."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "cluster.json"


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


def remove(directory: Path) -> None:
    """It is not ready any more."""
    (directory / _NAME).unlink(missing_ok=True)
