"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

_PART = ".part"


def write_whole(path: Path, body: bytes) -> None:
    """Replaces the file's content in one step: whoever reads sees the old or the new one, also where this
    process is killed in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=_PART, delete=False) as file:
        try:
            file.write(body)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read_if_there(path: Path) -> bytes | None:
    """The content; None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
