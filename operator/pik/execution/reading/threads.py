"""DuckDB's work in threads, which an event loop may lose interest in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import duckdb

from pik.execution.stream import Stream

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_UP = 0.05  # seconds between two tries to interrupt a query


async def in_thread(
    stream: Stream, con: duckdb.DuckDBPyConnection, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """A step of a query. When it is cancelled, its thread is told and waited for: a connection that is at
    work cannot be closed."""
    step = asyncio.ensure_future(stream.offload(work, *args, **kwargs))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        while not step.done():  # an interrupt between two statements is lost
            con.interrupt()
            await asyncio.wait({step}, timeout=_LOOK_UP)
        if not step.cancelled():
            step.exception()  # that it was interrupted is no news
        raise
