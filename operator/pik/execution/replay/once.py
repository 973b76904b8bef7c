"""Objects that are created once, whatever answers are lost on the way."""

from __future__ import annotations

from pik.domain.errors import AlreadyExists
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream

PATIENCE = Patience()


async def create_once(stream: Stream, key: str, body: bytes) -> bytes | None:
    """Creates the object. None: it is there with this body, by this call or an earlier one; else the other
    body that is there."""

    async def create() -> None:
        await stream.objects.create(key, body, _content_type(key))

    try:
        await until_answered(stream.clock, PATIENCE, create)
    except AlreadyExists:
        stored = await until_answered(stream.clock, PATIENCE, lambda: stream.objects.read(key))
        return None if stored.body == body else stored.body
    return None


def _content_type(key: str) -> str:
    return "application/x-ndjson" if key.endswith(".ndjson") else "application/json"
