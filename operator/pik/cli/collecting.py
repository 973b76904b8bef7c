"""What the garbage collector of a long-running process need not look at."""

from __future__ import annotations

import asyncio
import gc

_STARTED_SECONDS = 10.0  # when models and clients have been made


def spare_collector() -> None:
    """What lives some time after the start lives to the end: looking through it again and again takes a sixth
    of the CPU of small requests, and holds up those that wait for it. Called inside an event loop."""
    asyncio.get_running_loop().call_later(_STARTED_SECONDS, _freeze)


def _freeze() -> None:
    gc.collect()
    gc.freeze()
