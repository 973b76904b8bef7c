"""Where a test gets hold of a call: before it takes effect, and after, while its answer is on the way.

A hook is given the call's name (`objects.create`, `index.reserve`). A `before` that raises is a crash or a
refusal without effect; an `after` that raises is a lost answer. A hook that awaits lets others run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Hook = Callable[[str], Awaitable[None]]


async def unhooked(call: str) -> None:
    """Nothing happens."""
