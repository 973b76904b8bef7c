"""Condition Reconciled: what a ReplayJob says of its target when it was read."""

from __future__ import annotations

import pytest

from controller.clusters import Cluster
from controller.manifests import JOB, STREAM, events
from pik.api.conditions import ConditionType, condition_of
from pik.controller.objects import ObjectKey
from pik.domain.decode import decode_cloud_event
from pik.domain.errors import Denied
from pik.domain.intake import IntakeRules
from pik.memory.sink import DELIVERED
from pik.planning.replay.messages import Message
from pik.ports.sinks import Delivery

DOOR = "http://127.0.0.1:8000/v1/streams/default/copy/events"
RUN = JOB.replace("http://127.0.0.1:9/x", DOOR) + "  mode: Run\n  verifyTarget: Enabled\n"
COPY = STREAM.replace("{name: things}", "{name: copy}").replace("prefix: some", "prefix: copy")


async def streams(cluster: Cluster, *, losing: int = 0) -> ObjectKey:
    """Two, and what is sent comes to the second one, but for the first so many."""
    things, copy = cluster.apply(STREAM), cluster.apply(COPY)
    await cluster.settle()
    await cluster.ingest(things, events(6))
    left = losing

    async def answer(message: Message) -> Delivery:
        nonlocal left
        left -= 1
        if left < 0:
            door = cluster.workshop.door("default", "copy")
            assert door is not None
            judged = await door.claims.judge(decode_cloud_event(message.body, IntakeRules()))
            await cluster.opened(copy).capture.ingest(judged)
        return DELIVERED

    cluster.cloud.answer = answer
    return copy


def told(cluster: Cluster, key: ObjectKey) -> tuple[str, str, str]:
    found = condition_of(cluster.status(key).conditions, ConditionType.RECONCILED)
    assert found is not None
    return found.status, found.reason, found.message


async def test_a_stream_that_got_everything(cluster: Cluster) -> None:
    await streams(cluster)
    key = cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    status, reason, message = told(cluster, key)
    assert (status, reason) == ("True", "TargetMatches")
    assert message.startswith("6 sent, 6 found, 0 missing")
    # it is on record: an object that is applied again says the same, whatever became of the target since
    cluster.delete(key)
    await cluster.settle()
    cluster.delete(ObjectKey("CaptureStream", "default", "copy"))
    await cluster.settle()
    cluster.apply(RUN)
    await cluster.advance(60)
    assert told(cluster, key) == (status, reason, message)


async def test_events_that_are_missing_are_named(cluster: Cluster) -> None:
    await streams(cluster, losing=2)
    key = cluster.apply(RUN)
    await cluster.settle()
    status, reason, message = told(cluster, key)
    assert (status, reason) == ("False", "TargetDiffers")
    assert "2 missing" in message
    assert message.count(", ") >= 5
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")  # what was sent was confirmed


async def test_it_can_be_asked_for_when_the_run_has_ended(cluster: Cluster) -> None:
    await streams(cluster)
    key = cluster.apply(RUN.replace("  verifyTarget: Enabled\n", ""))
    await cluster.settle()
    assert cluster.condition(key, "Reconciled") is None
    cluster.apply(RUN)
    await cluster.settle()
    assert cluster.condition(key, "Reconciled") == ("True", "TargetMatches")


async def test_what_cannot_tell_is_unknown_for_good(cluster: Cluster) -> None:
    await streams(cluster)
    key = cluster.apply(RUN.replace(DOOR, "http://127.0.0.1:9/x"))
    await cluster.settle()
    assert cluster.condition(key, "Reconciled") == ("Unknown", "NotComparable")
    before = len(cluster.objects.written)
    await cluster.advance(3_600)
    assert not [one for one, _ in cluster.objects.written[before:] if one == key]


async def test_what_cannot_be_read_is_tried_again(cluster: Cluster) -> None:
    await streams(cluster)
    key = cluster.apply(RUN.replace("  verifyTarget: Enabled\n", ""))
    await cluster.settle()
    cluster.cloud.fault = lambda call: Denied("no") if call == "index.segments" else None
    cluster.apply(RUN)
    await cluster.settle()
    assert told(cluster, key)[:2] == ("Unknown", "ComparisonFailed")
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    cluster.cloud.fault = lambda _: None
    await cluster.advance(70)
    assert told(cluster, key)[:2] == ("True", "TargetMatches")


@pytest.mark.parametrize("access", ["", "  access: {from: All}\n"])
async def test_a_stream_of_others_is_read_only_where_its_owner_allows(cluster: Cluster, access: str) -> None:
    await streams(cluster)
    cluster.apply(STREAM + "  access: {from: All}\n")
    cluster.apply(COPY + access)
    other = RUN.replace("{name: again}", "{name: again, namespace: other}")
    key = cluster.apply(other.replace("{name: things}", "{name: things, namespace: default}"))
    await cluster.settle()
    await cluster.advance(70)
    expected = ("True", "TargetMatches") if access else ("Unknown", "ComparisonFailed")
    assert told(cluster, key)[:2] == expected
