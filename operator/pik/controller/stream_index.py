"""Whether a stream's index is whole, and the rebuilding of one that is not."""

from __future__ import annotations

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import Reason
from pik.controller.objects import key_of
from pik.controller.outcome import Waiting
from pik.controller.stream_storage import Table, ensure_table
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import NoSuchTable
from pik.domain.instants import parse_instant
from pik.execution.generations import newest_record
from pik.execution.reindex import Reindexed, reindex
from pik.execution.retrying import Patience, until_answered
from pik.planning.storage import SetTableTags
from pik.ports.index import GenerationState

REINDEX = "pik.dev/reindex"
"""Annotation: an instant (RFC 3339); an index that was built before it is built anew."""

WORK = "reindex"
"""The name of this work in the background."""

_OTHERS = "another process is building the index"


async def built(resource: CaptureStream, world: World, opened: OpenStream, table: Table) -> Waiting | None:
    """None where the index is whole, else what is waited for. Begins the rebuilding of one that is not: that
    of the newest generation record is the only one that counts. Raises what a rebuilding came to."""
    key = key_of(resource)
    running = world.background.is_running(key, WORK)
    state = None if table.absent else await _state(opened)
    asked = resource.metadata.annotations.get(REINDEX)
    if state is not None and (state, asked) == opened.built and table.longer is None and not running:
        return None
    record = await newest_record(opened.stream)
    reason = Reason.PROVISIONING if record is None else Reason.REINDEXING
    whole = (
        table.longer is None
        and record is not None
        and state is not None
        and state.ready
        and (state.number, state.nonce) == (record.number, record.nonce)
    )
    if whole and not running and not await _is_asked_for(asked, opened):
        opened.rebuilding = None
        if state is not None:
            opened.built = (state, asked)
        world.background.drop(key, WORK)
        return None
    opened.built = None
    if state is not None and not state.ready and not running:
        # another process may be at it: two at once only set each other back
        seen, since = opened.rebuilding or ("", world.clock.now())
        if seen != state.nonce:
            opened.rebuilding = (state.nonce, world.clock.now())
            return Waiting(reason, _OTHERS, again=world.timing.rebuild)
        if not world.passed(since.micros, world.timing.rebuild):
            return Waiting(reason, _OTHERS, again=world.timing.rebuild)
    rebuilt = world.background.poll(
        key, WORK, table.name, lambda: _rebuild(resource, world, opened, table.name, table.longer)
    )
    if rebuilt is not None:
        opened.sealed_news = opened.chain = None  # the new generation is sealed too
        opened.tally.forget()
        return await built(resource, world, opened, Table(table.name, False, None, ()))
    return Waiting(reason)


async def _state(opened: OpenStream) -> GenerationState | None:
    try:
        return await opened.stream.index.generation()
    except NoSuchTable:
        return None


async def _is_asked_for(asked: str | None, opened: OpenStream) -> bool:
    """Whether a person wants an index that is newer than the one there is."""
    if asked is None:
        return False
    newest = None
    async for info in opened.stream.objects.list(opened.stream.layout.generations):
        newest = info
    return newest is None or parse_instant(asked) > newest.last_modified


async def _rebuild(
    resource: CaptureStream, world: World, opened: OpenStream, table: str, longer: SetTableTags | None
) -> Reindexed:
    """Makes the table where there is none, which takes its time, and then the index, a few at once. What says
    how long entries live is written when all have been made anew, so that none expires before its event."""

    async def ensure() -> None:
        await ensure_table(resource, world, opened.place.stream_id, table)

    async def ensured() -> None:
        """It is there."""

    await until_answered(world.clock, Patience(), ensure)
    async with world.rebuilding:
        done = await reindex(opened.stream, ensured)
    if longer is not None:
        await world.cloud.of(resource).provisioner(resource.spec.storage.region).apply(longer)
    return done
