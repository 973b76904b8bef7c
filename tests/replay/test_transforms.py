"""What a run's transform does to messages, wherever they go, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pik.api.mapping import EventMapping
from pik.domain.errors import Incomplete
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import read_record
from pik.memory.sink import MemorySink, MemoryTarget
from pik.planning.replay.policy import transform_refusals
from pik.ports.sinks import Delivery, Disposition
from reading.streams import world
from replay.slices import ListSelector, begin, event, ran, spec, tools

HIDING = [
    {"path": "email", "action": "Hash"},
    {"path": "items.price", "action": "Mask"},
    {"path": "note", "action": "Drop"},
]
PAYLOAD = b'{"email": "a@b.c", "n": 1.50, "note": "whispered", "items": [{"price": 3}], "n2": 1e2}'
EVENTS = [event(n, f"e{n % 5}", data=PAYLOAD.replace(b"a@b.c", b"%d@b.c" % (n % 3))) for n in range(11)]
DEAD = {"action": "DeadLetter", "deadLetter": {"queueURL": "https://sqs.example.test/1/dead"}}


def sent(target: MemoryTarget) -> dict[str, str]:
    """Payload by event id."""
    return {m.event_id: m.body.decode().partition('"data":')[2][:-1] for _, m in target.received}


async def test_every_message_is_changed_alike_and_the_rest_of_it_is_exact(tmp_path: Path) -> None:
    made = await world(tmp_path)
    targets = []
    for key, shards in (("1", 1), ("2", 3)):  # another run, other workers
        target = MemoryTarget()
        selector = ListSelector(EVENTS)
        plan = await begin(made.stream, selector, spec(transform=HIDING, shards=shards), key)
        await run_replay(made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target)), 2)
        targets.append(sent(target))
    assert targets[0] == targets[1]
    hashes = {text[text.index(": ") + 2 : text.index(",")] for text in targets[0].values()}
    assert len(hashes) == 3
    text = targets[0][EVENTS[0].event_id]
    email = json.loads(text)["email"]
    assert text == f'{{"email": "{email}", "n": 1.50, "items": [{{"price": 0}}], "n2": 1e2}}'
    kept = b"".join(stored.body for stored in made.bucket.objects.values())
    assert b"whispered" not in kept
    assert b"@b.c" not in kept


async def test_dead_letters_are_changed_too(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target, dead = MemoryTarget(), MemoryTarget()

    async def refuse(_: object) -> Delivery:
        return Delivery(Disposition.REFUSED, "400", "BadRequest")

    await ran(
        made,
        EVENTS,
        MemorySink(target, answer=refuse),
        changes={"dead_letter": MemorySink(dead)},
        transform=HIDING,
        onError=DEAD,
    )
    assert len(sent(dead)) == len(EVENTS)
    assert not any("@b.c" in text or "whispered" in text for text in sent(dead).values())


async def test_a_run_never_goes_on_with_another_key(tmp_path: Path) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec(transform=HIDING))
    record = await read_record(made.stream, plan.run_id)
    assert record is not None
    assert record.hash_key is not None
    place = made.stream.layout.hash_key
    there = made.bucket.objects[place]
    for stored in (msgspec.structs.replace(there, body=there.body.replace(b'"key":"', b'"key":"00')), None):
        if stored is None:
            del made.bucket.objects[place]
        else:
            made.bucket.objects[place] = stored
        target = MemoryTarget()
        with pytest.raises(Incomplete, match=place):
            await run_replay(made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target)), 1)
        assert target.received == []


async def test_a_dry_run_makes_no_key(tmp_path: Path) -> None:
    made = await world(tmp_path)
    plan = await begin(made.stream, ListSelector(EVENTS), spec(transform=HIDING[1:]))
    assert made.stream.layout.hash_key not in made.bucket.objects
    record = await read_record(made.stream, plan.run_id)
    assert record is not None
    assert record.hash_key is None


def test_a_transform_is_a_part_of_the_plan_and_its_absence_is_not() -> None:
    plain, hiding = spec(), spec(transform=HIDING)
    assert "transform" not in plain.canonical
    assert plain.digest != hiding.digest != spec(transform=HIDING[::-1]).digest


@pytest.mark.parametrize("path", ["user", "user.email", "user.email.host", "shop"])
def test_what_the_envelope_says_too_cannot_be_hidden(path: str) -> None:
    mapping = EventMapping.model_validate(
        {"idempotencyKey": {"join": {"paths": ["shop", "number"]}}, "receivedTime": {"paths": ["seen"]}}
    )
    who = {field: {"paths": ["user.email"]} for field in ("entityID", "eventType", "source")}
    mapped = EventMapping.model_validate(
        {**mapping.model_dump(exclude_none=True), **who, "eventTime": {"paths": ["at"]}}
    )
    [refused, *_] = transform_refusals(spec(transform=[{"path": path, "action": "Drop"}]), mapped)
    assert path in refused.message
    for harmless in ("users", "user.name", "seen"):
        assert transform_refusals(spec(transform=[{"path": harmless, "action": "Drop"}]), mapped) == []
    assert transform_refusals(spec(transform=HIDING), None) == []
