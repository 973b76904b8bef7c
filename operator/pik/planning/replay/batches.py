"""How a chunk's events go into calls to the target without breaking their order (design: EntityTime)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from pik.api.replay_job import Order


class TargetOrder(StrEnum):
    """What a target promises of the order of what one call hands it."""

    NONE = "None"  # it keeps no order at all
    MESSAGE = "Message"  # it takes or refuses each event by itself
    BATCH = "Batch"  # it takes a call's events in their order, all or none


def waves(entities: Sequence[str], order: Order, target: TargetOrder) -> list[list[int]]:
    """Positions of a chunk's events in waves: those of one wave may be sent at once and in any order, and a
    wave is begun when the one before is confirmed. `entities`: each event's, in plan order.

    EntityTime: no wave holds two events of an entity, so that one that is refused or late is never overtaken
    by its successor; even in a FIFO queue, whose batch may fail in part.
    """
    positions = range(len(entities))
    if target is TargetOrder.NONE or target is TargetOrder.BATCH:
        return [list(positions)] if entities else []
    if order is not Order.ENTITY_TIME:
        return [[position] for position in positions]
    seen: Counter[str] = Counter()
    result: list[list[int]] = []
    for position in positions:
        turn = seen[entities[position]]
        seen[entities[position]] += 1
        if turn == len(result):
            result.append([])
        result[turn].append(position)
    return result


def batches(wave: Sequence[int], sizes: Sequence[int], events: int, size: int) -> list[list[int]]:
    """A wave cut into calls of at most `events` events and `size` bytes, in order; an event that is larger
    than `size` goes alone, and the target decides. `sizes`: bytes of each event, by position."""
    result: list[list[int]] = []
    room = 0
    for position in wave:
        if not result or len(result[-1]) >= events or sizes[position] > room:
            result.append([])
            room = size
        result[-1].append(position)
        room -= sizes[position]
    return result


def next_chunk(count: int, seconds: float, *, most: int, aim: float) -> int:
    """How many events the next chunk takes so that it lasts about `aim` seconds, after one of `count` events
    lasted `seconds`: at most four times as many, at least 1, at most `most`."""
    fitting = 4.0 * count if seconds <= 0 else min(4.0 * count, count * aim / seconds)
    return max(1, min(most, int(fitting)))
