"""Runs that overlap do not send to one target at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import json, structs

from controller.clusters import Cluster
from controller.manifests import JOB, STREAM, events
from pik.api.replay_job import TimeField
from pik.api.targets import TargetType
from pik.controller.objects import ObjectKey
from pik.domain.errors import Refused, Unavailable
from pik.domain.instants import Instant
from pik.execution.replay.occupancy import leave, occupy
from pik.memory.objects import MemoryObjectStore
from pik.memory.sink import DELIVERED, accept
from pik.planning.replay.messages import Message
from pik.planning.replay.occupancy import STANDS, Occupancy, Occupant, occupant
from pik.planning.replay.spec import TargetAddress, replay_spec, run_id
from pik.ports.sinks import Delivery, Disposition
from reading.streams import world

BUSY = Delivery(Disposition.RETRYABLE, "503", "Unavailable")
FEBRUARY = '{from: "2026-02-01T00:00:00Z", to: "2026-03-01T00:00:00Z"}'


def job(name: str, *changes: tuple[str, str], namespace: str = "default") -> str:
    text = JOB.replace("{name: again}", f"{{name: {name}, namespace: {namespace}}}") + "  mode: Run\n"
    text = text.replace("streamRef: {name: things}", "streamRef: {name: things, namespace: default}")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


async def stream(cluster: Cluster) -> None:
    things = cluster.apply(STREAM + "  access: {from: All}\n")
    await cluster.settle()
    await cluster.ingest(things, events(6))


async def begun(cluster: Cluster) -> ObjectKey:
    """A run that is held in its middle."""
    await stream(cluster)
    key = ObjectKey("ReplayJob", "default", "first")

    async def answer(_: Message) -> Delivery:
        cluster.apply(job("first", ("mode: Run", "mode: Run\n  suspend: true")))
        await cluster.manager.one(key)
        return BUSY

    cluster.cloud.answer = answer
    cluster.apply(job("first"))
    await cluster.settle()
    assert state(cluster, key) == "Suspended"
    assert cluster.status(key).run is not None
    cluster.cloud.answer = accept
    return key


def state(cluster: Cluster, key: ObjectKey) -> str:
    found = cluster.condition(key, "Complete")
    assert found is not None
    return found[1]


async def test_the_second_waits_and_says_for_whom(cluster: Cluster) -> None:
    first = await begun(cluster)
    second = cluster.apply(job("second", (FEBRUARY, FEBRUARY.replace("02-01", "02-09")), namespace="other"))
    await cluster.settle()
    assert state(cluster, second) == "TargetBusy"
    assert cluster.kstatus(second) == "InProgress"
    assert cluster.status(second).run is None  # it has not begun: its spec may still change
    message = next(c.message for c in cluster.status(second).conditions if c.type == "Complete")
    assert "ReplayJob default/first (runKey '1')" in message
    cluster.apply(job("first", ("mode: Run", "mode: Run\n  suspend: false")))
    await cluster.advance(60)
    assert (state(cluster, first), state(cluster, second)) == ("Succeeded", "Succeeded")
    runs = [batch.run_id for batch, _ in cluster.cloud.target.received]
    assert runs == [cluster.status(first).run.id] * 6 + [cluster.status(second).run.id] * 6


async def test_one_that_comes_while_another_sends_waits_for_its_end(cluster: Cluster) -> None:
    await stream(cluster)
    second = ObjectKey("ReplayJob", "default", "second")
    seen = []

    async def answer(_: Message) -> Delivery:
        if second not in cluster.objects.there:
            cluster.apply(job("second"))
            while second not in cluster.objects.there or cluster.status(second).plan is None:
                await cluster.manager.one(second)
                await asyncio.sleep(0)  # it is planned beside this
            while state(cluster, second) == "Planning":  # it is compared with what has come in since
                await asyncio.sleep(0)
                await cluster.manager.one(second)
            seen.append(state(cluster, second))
        return DELIVERED

    cluster.cloud.answer = answer
    cluster.apply(job("first"))
    await cluster.settle()
    assert seen == ["TargetBusy"]
    assert state(cluster, second) == "Succeeded"


@pytest.mark.parametrize(
    "change",
    [
        (FEBRUARY, '{from: "2026-03-01T00:00:00Z", to: "2026-04-01T00:00:00Z"}'),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/y"),
    ],
    ids=["another window", "another target"],
)
async def test_what_is_not_in_the_way_is_not_waited_for(cluster: Cluster, change: tuple[str, str]) -> None:
    await begun(cluster)
    second = cluster.apply(job("second", change))
    await cluster.settle()
    assert cluster.status(second).run is not None


async def test_windows_of_different_times_overlap(cluster: Cluster) -> None:
    await begun(cluster)
    later = '{field: IngestTime, from: "2026-03-01T00:00:00Z", to: "2026-04-01T00:00:00Z"}'
    second = cluster.apply(job("second", (FEBRUARY, later), ("127.0.0.1:9/x", "127.0.0.1:9/x")))
    await cluster.settle()
    assert state(cluster, second) == "TargetBusy"


def _deleted(cluster: Cluster) -> None:
    cluster.delete(ObjectKey("ReplayJob", "default", "first"))


def _forced(cluster: Cluster) -> None:
    cluster.objects.there.pop(ObjectKey("ReplayJob", "default", "first"))


def _another_run(cluster: Cluster) -> None:
    cluster.apply(job("first", ("mode: Run", 'mode: DryRun\n  runKey: "2"')))


@pytest.mark.parametrize("gone", [_deleted, _forced, _another_run])
async def test_a_run_that_goes_on_no_more_is_in_nobodys_way(
    cluster: Cluster, gone: Callable[[Cluster], None]
) -> None:
    await begun(cluster)
    second = cluster.apply(job("second"))
    await cluster.settle()
    assert state(cluster, second) == "TargetBusy"
    gone(cluster)
    await cluster.settle()
    await cluster.advance(60)
    assert state(cluster, second) == "Succeeded"


async def test_a_run_that_is_held_keeps_its_place(cluster: Cluster) -> None:
    await begun(cluster)
    second = cluster.apply(job("second"))
    await cluster.advance(600)
    assert state(cluster, second) == "TargetBusy"


def places(cluster: Cluster) -> list[str]:
    """Names of those that have a place."""
    buckets = cluster.account.buckets.values()
    found = [one.body for there in buckets for key, one in there.objects.items() if "targets/" in key]
    return [one.name for body in found for one in json.decode(body, type=Occupancy).runs]


@pytest.mark.parametrize("gone", [_deleted, _another_run])
async def test_a_place_is_given_up_with_the_run(cluster: Cluster, gone: Callable[[Cluster], None]) -> None:
    await begun(cluster)
    assert places(cluster) == ["first"]
    gone(cluster)
    await cluster.advance(60)
    assert places(cluster) == []


async def test_a_run_that_could_not_begin_has_no_place(cluster: Cluster) -> None:
    await stream(cluster)
    had = []

    def fault(call: str) -> Exception | None:
        if call != "objects.create" or not places(cluster):
            return None
        had.append(places(cluster))
        return Refused("no")

    cluster.cloud.fault = fault
    taken = cluster.apply(job("first"))
    await cluster.settle()
    assert had == [["first"]]
    assert cluster.status(taken).run is None
    assert places(cluster) == []


@pytest.mark.parametrize("stalled", [True, False])
async def test_a_place_of_one_that_stalled_before_it_began_is_free(cluster: Cluster, stalled: bool) -> None:
    """As after a crash between the two, and a change of what the stream's owner allows."""
    things = cluster.apply(STREAM + ("  replayPolicy: {maxEvents: 3}\n" if stalled else ""))
    await cluster.settle()
    await cluster.ingest(things, events(6))
    first = cluster.apply(job("first", *(() if stalled else (("mode: Run", "mode: Run\n  suspend: true"),))))
    await cluster.settle()
    assert state(cluster, first) == ("PolicyExceeded" if stalled else "Suspended")
    opened = cluster.workshop.find(things)
    assert opened is not None
    asked = replay_spec(cluster.objects.there[first].spec, "default")
    identity = run_id(opened.place.stream_id, "default", "first", "1")
    place = occupant(asked, identity, "default", "first", "1", cluster.clock.now().text)
    assert await occupy(opened.stream, asked.target.place, place, lambda *_: True) is None
    assert places(cluster) == ["first"]
    second = cluster.apply(
        job("second", (FEBRUARY, '{from: "2026-02-10T00:00:04Z", to: "2026-03-01T00:00:00Z"}'))
    )
    await cluster.settle()
    assert state(cluster, second) == "Succeeded"


async def test_a_run_whose_slice_was_changed_goes_on_no_more(cluster: Cluster) -> None:
    first = await begun(cluster)
    resource = cluster.objects.there[first]
    window = resource.spec.select.window.model_copy(update={"to": "2026-02-20T00:00:00Z"})
    select = resource.spec.select.model_copy(update={"window": window})
    spec = resource.spec.model_copy(update={"select": select})
    cluster.objects.there[first] = resource.model_copy(update={"spec": spec})  # without an API server's rules
    cluster.manager.changed(first)
    await cluster.advance(60)
    assert state(cluster, first) == "RunKeyConflict"
    second = cluster.apply(job("second"))
    await cluster.settle()
    assert state(cluster, second) == "Succeeded"


def run(number: int) -> Occupant:
    return Occupant(f"{number:064x}", "tests", f"job{number}", "1", TimeField.EVENT_TIME, "a", "b", "now")


@pytest.mark.parametrize("before", [False, True], ids=["nobody", "one that is gone"])
async def test_of_many_that_ask_at_once_one_is_first_whatever_answers_are_lost(
    tmp_path: Path, before: bool
) -> None:
    made = await world(tmp_path)
    if before:
        assert await occupy(made.stream, "HTTP there", run(99), lambda *_: True) is None
    lost: Iterator[bool] = iter([True, False, True] + [False] * 1_000)

    async def after(call: str) -> None:
        await asyncio.sleep(0)
        if call in ("objects.create", "objects.replace") and next(lost):
            raise Unavailable(f"{call} got no answer, and took effect")

    async def ask(number: int) -> Occupant | None:
        stream = replace(made.stream, objects=MemoryObjectStore(made.bucket, made.clock, after=after))
        return await occupy(stream, "HTTP there", run(number), lambda one, _: one.name != "job99")

    found = await asyncio.gather(*map(ask, range(8)))
    assert found.count(None) == 1
    assert {one.run_id for one in found if one is not None} == {run(found.index(None)).run_id}
    # an end makes room, and so does nobody's wanting it
    assert await occupy(made.stream, "HTTP there", run(9), lambda *_: False) is None


async def test_a_run_without_an_object_has_its_place_until_its_time_is_up(tmp_path: Path) -> None:
    made = await world(tmp_path)
    now = made.clock.now()
    until = [Instant(now.micros + seconds * 1_000_000).text for seconds in (10, 20)]

    async def ask(run: Occupant) -> Occupant | None:
        return await occupy(made.stream, "SQS there", run, lambda *_: False)

    function = structs.replace(run(1), until=until[0])
    assert await ask(function) is None
    assert await ask(run(2)) == function
    assert await ask(structs.replace(function, until=until[1])) is None  # it is tried again
    await made.clock.sleep(15)
    assert await ask(run(2)) == structs.replace(function, until=until[1])
    await made.clock.sleep(15)
    assert await ask(run(2)) is None
    # where a ReplayJob goes on with it, time is no end
    assert await ask(structs.replace(function, until=until[1])) is None
    assert await ask(structs.replace(function, until=None)) is None
    stored = await made.stream.objects.read(made.stream.layout.target("SQS there"))
    assert b"until" not in stored.body


async def test_a_function_waits_for_a_job_that_asks_and_not_for_one_that_is_gone(tmp_path: Path) -> None:
    made = await world(tmp_path)

    def soon(seconds: int) -> str:
        return Instant(made.clock.now().micros + seconds * 1_000_000).text

    async def asks(other: Occupant, until: str | None) -> Occupant | None:
        now = made.clock.now()
        times = {"since": now.text, "until": until, "asked": None if until else now.text}
        wanted = (lambda one, _: one.stands(now)) if until else (lambda *_: True)
        return await occupy(made.stream, "SQS there", structs.replace(other, **times), wanted)

    assert await asks(run(1), None) is None
    began = made.clock.now().text
    for _ in range(4):
        await made.clock.sleep(STANDS / 2)
        found = await asks(run(2), soon(10))
        assert found is not None
        assert (found.name, found.since) == ("job1", began)
        assert await asks(run(1), None) is None
    assert await asks(run(1), soon(9_000)) is None  # the same run, by a function: its place does not end so
    await made.clock.sleep(9_000)
    assert await asks(run(2), soon(10)) is not None
    await made.clock.sleep(STANDS)
    assert await asks(run(2), soon(10)) is None


async def test_a_slice_that_was_changed_takes_the_place_that_it_has_now(tmp_path: Path) -> None:
    made = await world(tmp_path)
    first, later = run(1), structs.replace(run(2), start="c", end="d")
    assert await occupy(made.stream, "SQS there", first, lambda *_: True) is None
    wider = structs.replace(first, end="d", since="later")
    assert await occupy(made.stream, "SQS there", wider, lambda *_: True) is None
    found = await occupy(made.stream, "SQS there", later, lambda *_: True)
    assert found == structs.replace(wider, since="now")
    await leave(made.stream, "SQS there", first.run_id)
    await leave(made.stream, "nobody's", first.run_id)
    assert await occupy(made.stream, "SQS there", later, lambda *_: True) is None


async def test_runs_of_an_entity_each_are_in_nobodys_way(tmp_path: Path) -> None:
    made = await world(tmp_path)
    one, other = (structs.replace(run(n), entity=f"order-{n}") for n in range(2))
    for asking, found in ((one, None), (other, None), (run(3), one)):
        assert await occupy(made.stream, "SQS there", asking, lambda *_: True) == found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://Host/x", "http://host:80/x", True),
        ("https://host/x", "https://host:443/x", True),
        ("https://host", "https://host/", True),
        ("https://host/x", "http://host/x", False),
        ("https://host/x", "https://host/X", False),
        ("https://host/x?a=1", "https://host/x", False),
    ],
)
def test_addresses_that_are_the_same(one: str, other: str, same: bool) -> None:
    found = {TargetAddress(TargetType.HTTP, address).place for address in (one, other)}
    assert (len(found) == 1) is same
