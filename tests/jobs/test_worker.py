"""A pod's process: killed, told to stop, refused, misled; and what it leaves for those that come after."""

from __future__ import annotations

import hmac
import signal
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import pytest

from aggregate.questions import definition
from jobs.conftest import ENTITIES, EVENTS
from jobs.receivers import Received, Receiver
from jobs.workers import Pods, replay_task, stream_task
from pik.api.aggregate_version import KnownBy
from pik.api.conditions import Reason
from pik.cluster.jobs.task import AggregateTask
from pik.cluster.jobs.verdicts import ExitCode
from pik.execution.aggregate.answers import (
    Asking,
    find_answer,
    find_difference,
    keep_definition,
)
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import read_answer
from pik.execution.replay.conclusion import conclude_shards
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import read_ledger, read_shards, reconcile_run
from pik.execution.replay.marks import read_marks
from pik.execution.replay.runs import read_shard_end
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import EndState
from pik.planning.replay.spec import replay_spec
from reading.streams import after
from replay.slices import begin, job

pytestmark = pytest.mark.emulator


async def begun(
    stream: Stream, receiver: Receiver, secret: str | None = None, **fields: object
) -> ReplayPlan:
    http: dict[str, object] = {"url": receiver.url}
    if secret is not None:
        http["secretRef"] = {"name": secret}
    wanted = replay_spec(job(target={"type": "HTTP", "http": http}, **fields), "tests")
    return await begin(stream, DuckDBSelector(stream, str), wanted)


def in_order(received: Sequence[Received]) -> bool:
    """Each entity's events, at their first arrival."""
    times: dict[str, list[str]] = defaultdict(list)
    seen = set()
    for got in received:
        if got.id not in seen:
            seen.add(got.id)
            times[got.subject].append(got.time)
    return all(of_one == sorted(of_one) for of_one in times.values())


async def test_a_killed_shard_is_gone_on_with_and_repeats_no_more_than_its_chunk_in_doubt(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    plan = await begun(stream, receiver)
    task = replay_task(stream, unique, plan)
    hanging = threading.Event()

    def answer(got: Received) -> int:
        if len(receiver.received) > 45:
            hanging.wait(60)  # the fifth chunk is begun, and some of it has come
        return 202

    receiver.answer = answer
    first = pods.start(task, shard=0)
    receiver.until(46)
    first.process.send_signal(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL
    hanging.set()
    before = len(receiver.received)
    second = pods.start(task, shard=0)
    assert second.ended() == ExitCode.DONE, second.output
    assert second.verdict.reason is Reason.SUCCEEDED
    ids = [got.id for got in receiver.received]
    assert len(set(ids)) == EVENTS
    assert in_order(receiver.received)
    heads = [(head, entries) async for head, entries in read_ledger(stream, plan.run_id)]
    doubted = {entry.key for head, entries in heads if head.in_doubt for entry in entries}
    keys = [got.key for got in receiver.received]
    repeated = {key for key in keys if keys.count(key) > 1}
    assert repeated
    assert repeated <= doubted
    assert len(doubted) <= 10
    assert len(receiver.received) - before <= EVENTS - 40
    reconciliation = await reconcile_run(stream, plan)
    assert reconciliation.whole
    third = pods.start(task, shard=0)  # it finds the end
    assert third.ended() == ExitCode.DONE
    assert len(receiver.received) == len(ids)


async def test_told_to_stop_it_comes_to_a_checkpoint_and_nothing_is_sent_twice(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    plan = await begun(stream, receiver, shards=2)
    task = replay_task(stream, unique, plan)
    slow = threading.Event()

    def answer(got: Received) -> int:
        slow.wait(0.02)
        return 202

    receiver.answer = answer
    halted = [pods.start(task, shard) for shard in range(2)]
    receiver.until(25)
    for pod in halted:
        pod.process.send_signal(signal.SIGTERM)
    assert [pod.ended() for pod in halted] == [ExitCode.HALTED, ExitCode.HALTED]
    assert halted[0].verdict.reason is Reason.SUSPENDED
    assert 25 <= len(receiver.received) < EVENTS
    shown, there = await read_marks(stream, plan.run_id), await read_shards(stream, plan.run_id)
    assert shown == there
    slow.set()
    again = [pods.start(task, shard) for shard in range(2)]
    assert [pod.ended() for pod in again] == [ExitCode.DONE, ExitCode.DONE]
    ids = [got.id for got in receiver.received]
    assert len(ids) == len(set(ids)) == EVENTS
    assert in_order(receiver.received)
    shown = await read_marks(stream, plan.run_id)
    assert sum(shard.totals.sent for shard in shown.values()) == EVENTS
    assert {shard.ended for shard in shown.values()} == {EndState.SUCCEEDED}
    end = await conclude_shards(stream, plan.run_id, {})
    assert end is not None
    assert (end.state, end.totals.sent) == (EndState.SUCCEEDED, EVENTS)


async def test_a_refused_event_ends_the_shard_for_good(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    receiver.answer = lambda got: 400 if got.subject == "e3" else 202
    plan = await begun(stream, receiver)
    task = replay_task(stream, unique, plan)
    first = pods.start(task, shard=0)
    assert first.ended() == ExitCode.FAILED
    assert first.verdict.reason is Reason.TARGET_FAILED
    assert "400" in first.verdict.message
    end = await read_shard_end(stream, plan.run_id, 0)
    assert end is not None
    assert end.state is EndState.FAILED
    sent = len(receiver.received)
    assert pods.start(task, shard=0).ended() == ExitCode.FAILED
    assert len(receiver.received) == sent


async def test_a_target_that_is_away_may_be_there_for_the_next_pod(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    receiver.answer = lambda _: 503
    plan = await begun(stream, receiver)
    pod = pods.start(replay_task(stream, unique, plan), shard=0)
    assert pod.ended() == ExitCode.AGAIN
    assert pod.verdict.reason is Reason.TARGET_UNAVAILABLE
    assert await read_shard_end(stream, plan.run_id, 0) is None


async def test_what_no_pod_can_do_is_told_from_what_the_next_may(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    plan = await begun(stream, receiver, secret="hook")
    task = replay_task(stream, unique, plan)
    unreadable = pods.start('{"kind": "Replay"}', shard=0)
    without_index = pods.start(task)
    without_secret = pods.start(task, shard=0)
    forbidden = pods.start(msgspec.structs.replace(task, loopback=False), shard=0)
    for pod in (unreadable, without_index, without_secret):
        assert pod.ended() == ExitCode.MISCONFIGURED, pod.output
    assert "Secret hook" in without_secret.verdict.message
    assert without_secret.verdict.reason is Reason.SECRET_NOT_READABLE
    forbidden.ended()
    (pods.secrets / "token").write_text("t0ken\n")
    forbidden = pods.start(msgspec.structs.replace(task, loopback=False), shard=0)
    assert forbidden.ended() == ExitCode.MISCONFIGURED
    assert forbidden.verdict.reason is Reason.TARGET_FORBIDDEN
    assert receiver.received == []
    assert "t0ken" not in forbidden.output


async def test_the_targets_secret_is_read_from_the_files_that_are_mounted(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    (pods.secrets / "token").write_text("first\n")

    def answer(got: Received) -> int:
        renewed = (
            pods.secrets / f"renewed-{got.id}"
        )  # while the run goes on, and at one stroke as a kubelet does
        renewed.write_text("second")
        renewed.rename(pods.secrets / "token")
        return 202

    receiver.answer = answer
    plan = await begun(stream, receiver, secret="hook")
    assert pods.start(replay_task(stream, unique, plan), shard=0).ended() == ExitCode.DONE
    assert {got.authorization for got in receiver.received} >= {"Bearer second"}
    assert receiver.received[0].authorization == "Bearer first"
    (pods.secrets / "token").unlink()
    (pods.secrets / "username").write_text("käthe")
    (pods.secrets / "password").write_text("s:e")
    receiver.received.clear()
    receiver.answer = lambda _: 202
    http = {"url": receiver.url, "secretRef": {"name": "hook"}}
    wanted = replay_spec(job(target={"type": "HTTP", "http": http}), "tests")
    plan = await begin(stream, DuckDBSelector(stream, str), wanted, key="2")
    assert pods.start(replay_task(stream, unique, plan), shard=0).ended() == ExitCode.DONE
    assert {got.authorization for got in receiver.received} == {"Basic a8OkdGhlOnM6ZQ=="}


async def test_a_run_signs_by_the_key_of_the_moment(
    stream: Stream, receiver: Receiver, pods: Pods, unique: str
) -> None:
    keys = [b"1" * 32, b"2" * 24]
    (pods.secrets / "signingKey").write_text(f"whsec_{b64encode(keys[0]).decode()}\n")
    by: list[int] = []

    def answer(got: Received) -> int:
        name, sent = got.headers["webhook-id"], got.headers["webhook-timestamp"]
        signed = f"{name}.{sent}.".encode() + got.body
        signatures = [b64encode(hmac.new(key, signed, "sha256").digest()).decode() for key in keys]
        given = [each.removeprefix("v1,") for each in got.headers["webhook-signature"].split(" ")]
        by.extend(number for number, signature in enumerate(signatures) if signature in given)
        fresh = pods.secrets / f"renewed-{got.id}"
        fresh.write_text(b64encode(keys[1]).decode())
        fresh.rename(pods.secrets / "signingKey")
        return 202 if name == got.key.replace(".", "_") and len(by) == len(receiver.received) else 401

    receiver.answer = answer
    plan = await begun(stream, receiver, secret="hook")
    assert pods.start(replay_task(stream, unique, plan), shard=0).ended() == ExitCode.DONE
    assert (by[0], by[-1]) == (0, 1)


async def test_an_aggregate_is_computed_once_and_compared(stream: Stream, pods: Pods, unique: str) -> None:
    asked = msgspec.structs.replace(
        definition(after(0), after(3_600), ("events", "count(*)"), ("total", "sum(payload.n)")),
        stream_id=stream.layout.stream_id,
    )
    await keep_definition(stream, asked)
    first = await compute(stream, asked, namespace="tests", name="first")
    task = AggregateTask(
        stream=stream_task(stream, unique),
        namespace="tests",
        name="total",
        definition_hash=asked.hash,
        known_by=KnownBy.INGEST_TIME,
        before=first.version,
    )
    tiny = pods.start(msgspec.structs.replace(task, memory="1KB"))
    assert tiny.ended() == ExitCode.OUT_OF_MEMORY
    assert tiny.verdict.reason is Reason.OUT_OF_MEMORY
    asking = Asking("tests", "total", asked.hash, KnownBy.INGEST_TIME, None)
    assert await find_answer(stream, asking) is None
    assert pods.start(task).ended() == ExitCode.DONE
    answer = await find_answer(stream, asking)
    assert answer is not None
    assert (answer.version, answer.record.input_count) == (first.version, EVENTS)
    difference = await find_difference(stream, await read_answer(stream, first.version), answer)
    assert difference is not None
    assert (difference.before, difference.rows_changed, difference.new) == (first.version, 0, 0)
    unknown = pods.start(msgspec.structs.replace(task, before="a" * 64))
    assert unknown.ended() == ExitCode.DONE
    assert "no version" in unknown.verdict.message


async def test_a_computation_that_cannot_succeed_says_why(stream: Stream, pods: Pods, unique: str) -> None:
    asked = msgspec.structs.replace(
        definition(after(0), after(3_600), ("total", "sum(now())")),
        stream_id=stream.layout.stream_id,
    )
    await keep_definition(stream, asked)
    task = AggregateTask(
        stream=stream_task(stream, unique),
        namespace="tests",
        name="total",
        definition_hash=asked.hash,
        known_by=KnownBy.INGEST_TIME,
    )
    pod = pods.start(task)
    assert pod.ended() == ExitCode.MISCONFIGURED, pod.output
    assert pod.verdict.reason is Reason.INVALID_SPEC
    assert '"name": "total"' in pod.output


def test_the_entities_are_many_enough_to_tell_order_from_luck() -> None:
    assert EVENTS / ENTITIES > 10
