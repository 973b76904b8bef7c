"""Whether a file system can carry overlays: much cheaper than copies of whole layers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


def possible(directory: Path, succeeds: Callable[..., bool]) -> bool:
    """Tries it in `directory`. `succeeds`: whether a command does, run where mounts are nobody else's."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="overlay-") as probe:
        for name in ("lower", "upper", "work", "merged"):
            (Path(probe) / name).mkdir()
        mount = f"mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay {probe}/merged"
        return succeeds("sh", "-ec", f"cd {probe}; {mount}; umount {probe}/merged")
