"""Histories of arrivals, put into streams of both kinds, and the same as a data frame for pandas to count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.identity import canonical
from pik.domain.instants import Instant
from pik.execution.capture.capture import Capture
from pik.execution.reading.snapshot import Snapshot, take_snapshot
from pik.execution.stream import Deduplication
from reading.streams import HOUR, SECOND, START, World, arrival, world

History = list[tuple[Instant, list[Arrival]]]  # what came together, and when


def history(seed: int, requests: int = 12, most: int = 40) -> History:
    """Arrivals of few keys, so that they repeat, contradict and overtake each other."""
    random = Random(seed)
    return [
        (Instant(START.micros + at), [_arrival(random, at) for _ in range(random.randint(1, most))])
        for at in sorted(random.sample(range(0, 6 * HOUR, 1_000), requests))
    ]


def _arrival(random: Random, at: int) -> Arrival:
    number = random.randrange(60)
    happened = START.micros + at - random.choice([0, 1, HOUR // 2, HOUR, 2 * HOUR, -90 * SECOND])
    stable = Random(number)  # what a producer that repeats itself says of this key
    if random.random() < 0.8:
        happened = START.micros + stable.randrange(0, 6 * HOUR, SECOND)
    value = number if random.random() < 0.9 else 1000
    data = json.dumps({"value": value, "unit": "F"}, indent=random.choice([None, None, 1]))
    received = Instant(happened + random.randrange(HOUR), random.choice(["", "5"]))
    return arrival(
        f"k{number}",
        Instant(happened, random.choice(["", "", "25", "7"]) if random.random() < 0.1 else ""),
        data.encode(),
        source=f"s{number % 3}",
        event_type=f"t{number % 2}",
        entity_id=f"e{number % 7}",
        received_time=received if random.random() < 0.5 else None,
        replay_of="run1" if random.random() < 0.05 else None,
    )


async def captured(
    directory: Path, told: History, deduplication: Deduplication = Deduplication.ON_WRITE
) -> tuple[World, Snapshot]:
    """Through the capture path, each request when it came."""
    made = await world(directory, deduplication)
    capture = Capture(made.stream)
    for at, arrivals in told:
        made.clock.advance((at.micros - made.clock.now().micros) / SECOND)
        await capture.ingest(arrivals)
    await capture.close()
    return made, await take_snapshot(made.stream, now=made.clock.now())


async def recorded(directory: Path, told: History) -> tuple[World, Snapshot]:
    """As segments of an OnRead stream, each stamped when it came."""
    made = await world(directory, Deduplication.ON_READ)
    for at, arrivals in told:
        made.clock.advance(max(0, at.micros - made.clock.now().micros) / SECOND)
        rows = [
            Row(n, a, Outcome.RECORDED if a.replay_of is None else Outcome.REPLAYED)
            for n, a in enumerate(arrivals)
        ]
        await made.land(rows, at=at)
    return made, await take_snapshot(made.stream, now=made.clock.now())


def frame(told: History) -> pandas.DataFrame:
    """One row an arrival, in order of arrival. `event`: the number of its event's row; `repeat`: `event`,
    `duplicate`, `conflict`, or `replayed` for what came back from a replay under a known id."""
    rows = []
    first: dict[str, tuple[int, Arrival]] = {}
    for at, arrivals in told:
        for a in arrivals:
            number, winner = first.setdefault(a.event_id, (len(rows), a))
            rows.append(
                {
                    "event_id": a.event_id,
                    "source": a.source,
                    "event_type": a.event_type,
                    "entity_id": a.entity_id,
                    "event_us": a.event_time.micros,
                    "event_ns": _nanos(a.event_time),
                    "ingest_us": at.micros,
                    "known_ns": _nanos(a.received_time or at),
                    "received": a.received_time is not None,
                    "replayed": a.replay_of is not None,
                    "event": number,
                    "repeat": _repeat(len(rows) == number, winner, a),
                }
            )
    return pandas.DataFrame(rows)


def events(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Those that count as news."""
    return frame[(frame.repeat == "event") & ~frame.replayed]


def _repeat(is_first: bool, winner: Arrival, this: Arrival) -> str:
    if is_first:
        return "event"
    if this.replay_of is not None:
        return "replayed"
    same = (
        (winner.event_type, winner.entity_id, winner.event_time)
        == (this.event_type, this.entity_id, this.event_time)
    ) and canonical(winner.data) == canonical(this.data)
    return "duplicate" if same else "conflict"


def _nanos(instant: Instant) -> int:
    return instant.micros * 1000 + int(instant.rest.ljust(3, "0"))


def counts(series: Sequence[str] | pandas.Series) -> dict[str, int]:
    return {str(key): int(number) for key, number in pandas.Series(series).value_counts().items()}
