"""Where a shard stands: its last outcome, and the chunk that was begun after it, if any."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

from pik.domain.errors import Tampered
from pik.execution.replay.once import PATIENCE
from pik.execution.replay.runs import run_keys
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.planning.replay.records import Failure, Intent, Totals, decode_head

_NAME = re.compile(r"(\d{8})\.(intent|outcome)(\.\d+)?\.(json|ndjson)")


class Checkpoint(msgspec.Struct, frozen=True):
    """What is settled, and what is in doubt."""

    chunk: int = 0  # the next one
    start: int = 0  # position of the first event that is not settled
    totals: Totals = Totals()
    failures: tuple[Failure, ...] = ()
    held: frozenset[str] = frozenset()  # entities whose later events stay unsent
    held_in: int | None = None  # the last chunk in which one of them failed
    doubt: Intent | None = None  # of chunk `chunk`, the first: it was begun and has no outcome
    attempts: int = 0  # intents of chunk `chunk`
    stopped: bool = False  # the last outcome ended the shard


async def read_checkpoint(stream: Stream, run_id: str, shard: int) -> Checkpoint:
    """From the shard's objects, listed to the end. Raises `Tampered` where they do not follow each other."""
    keys = run_keys(stream, run_id)
    prefix = keys.shard(shard)
    outcomes: list[int] = []
    intents: Counter[int] = Counter()
    async for info in stream.objects.list(prefix):
        if (name := _NAME.fullmatch(info.key.removeprefix(prefix))) is not None:
            if name[2] == "outcome":
                outcomes.append(int(name[1]))
            else:
                intents[int(name[1])] += 1
    if outcomes != list(range(len(outcomes))) or sorted(intents) != list(range(len(intents))):
        raise Tampered(f"{prefix}: chunks are missing")
    if not 0 <= len(intents) - len(outcomes) <= 1:
        raise Tampered(f"{prefix}: {len(intents)} chunks were begun and {len(outcomes)} were ended")
    doubt = None
    if len(intents) > len(outcomes):
        body = await _body(stream, keys.intent(shard, len(outcomes), 0))
        doubt = msgspec.json.decode(body, type=Intent)
    if not outcomes:
        return Checkpoint(doubt=doubt, attempts=intents[0])
    head = decode_head(await _body(stream, keys.outcome(shard, outcomes[-1])))
    held: set[str] = set(head.newly_held)
    before = head.held_before
    while before is not None:
        earlier = decode_head(await _body(stream, keys.outcome(shard, before)))
        held.update(earlier.newly_held)
        before = earlier.held_before
    return Checkpoint(
        chunk=head.chunk + 1,
        start=head.start + head.count,
        totals=head.totals,
        failures=head.failures,
        held=frozenset(held),
        held_in=head.chunk if head.newly_held else head.held_before,
        doubt=doubt,
        attempts=intents[len(outcomes)],
        stopped=head.stopped,
    )


async def _body(stream: Stream, key: str) -> bytes:
    stored = await until_answered(stream.clock, PATIENCE, lambda: stream.objects.read(key))
    return stored.body
