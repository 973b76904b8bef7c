"""How a long-running process keeps the memory that it has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
_LARGE = 1 << 20  # bytes


def keep_little() -> None:
    """glibc gives threads a heap each, up to eight a core, and after the first large buffer that is freed it
    takes others like it from these heaps too, where they stay: a process that computes now and then, each
    time on another thread, looks as if it grew. Two heaps, and large buffers apart, which go back to the
    machine. Called before there are threads; does nothing where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
