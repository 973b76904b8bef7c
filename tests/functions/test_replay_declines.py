"""What the function `replay` tells of a run that was begun, and of a plan that is out of date."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from functions.deployed import Place, place_at
from functions.requests import EVENT, EVENTS
from gateway.asgi import call as post
from pik.api.capture_stream import Approval, ReplayPolicy
from pik.api.conditions import Reason
from pik.api.replay_job import StaleAction, TimeField
from pik.api.targets import TargetType
from pik.execution.replay.ledger import read_progress
from pik.execution.replay.occupancy import leave, occupy
from pik.execution.replay.runs import read_record
from pik.execution.stream_task import StreamTask
from pik.functions.ingest import IngestFunction, IngestTask
from pik.functions.invocations import Invocation
from pik.functions.replay import ReplayFunction, ReplayTask, Unfinished
from pik.planning.replay.occupancy import Occupant
from pik.planning.replay.spec import TargetAddress

pytestmark = pytest.mark.emulator

DAY = datetime(2013, 7, 10, tzinfo=UTC)


def at(minute: int) -> str:
    return (DAY + timedelta(minutes=minute)).isoformat()


class There(NamedTuple):
    place: Place
    task: StreamTask
    queue: str

    def capture(self, *minutes: int, entity: str) -> None:
        gateway = IngestFunction(IngestTask(self.task), self.place.access, self.place.scratch).gateway
        events = [
            {
                **EVENT,
                "entity_id": entity,
                "event_time": at(n),
                "idempotency_key": f"{entity}-{n}",
                "payload": n,
            }
            for n in minutes
        ]
        assert asyncio.run(post(gateway, EVENTS, json.dumps(events).encode())).status == 200

    def replay(
        self, entity: str, seconds: float = 60.0, *, task: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        function = ReplayFunction(
            ReplayTask(self.task, self.queue, **(task or {})),
            self.place.access,
            self.place.scratch / "replay",
        )
        event = {"entity_id": entity, "start_time": at(0), "end_time": at(30), "run_key": entity, **more}
        try:
            return function(event, Invocation("r", lambda: seconds))
        finally:
            function.close()


@pytest.fixture(scope="module")
def there(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    with place_at(emulator, tmp_path_factory.mktemp("declines")) as place:
        yield There(place, place.stream("declined"), place.queue("to")[0])


@pytest.mark.parametrize(
    ("minute", "reason"), [(40, Reason.STALE_EVENTS), (29, Reason.PLAN_CHANGED)], ids=["after", "in it"]
)
def test_a_plan_that_is_out_of_date_is_not_sent(there: There, minute: int, reason: Reason) -> None:
    entity = f"late-{minute}"
    there.capture(*range(5), entity=entity)
    kept = {"on_stale": StaleAction.FAIL}
    shown = there.replay(entity, task=kept, dry_run=True)
    assert (shown["scanned"], shown["stale"]) == (5, 0)
    there.capture(minute, entity=entity)
    answer = there.replay(entity, task=kept, plan=shown["plan"])
    assert answer["error"]["reason"] == reason
    assert (answer["scanned"], answer["sent"]) == (5, 0)
    stream = there.place.opened(there.task)
    assert asyncio.run(read_record(stream, shown["run_id"])) is None
    # as it stands by now nothing keeps it, and without a care for it the plan may go
    assert there.replay(entity, task={}, run_key=f"{entity}-again")["sent"] in (5, 6)


def test_a_slice_that_changes_while_the_queue_is_waited_for_is_not_sent(there: There) -> None:
    """Between two looks at the time that is left, others come and go."""
    entity, stream = "waiting", there.place.opened(there.task)
    there.capture(*range(5), entity=entity)
    place = TargetAddress(TargetType.SQS, there.queue).place
    other = Occupant(
        "f" * 64, "shop", "job", "1", TimeField.EVENT_TIME, at(0), at(60), since=stream.clock.now().text
    )

    def comes() -> None:
        assert asyncio.run(occupy(stream, place, other, lambda *_: False)) is None
        there.capture(40, entity=entity)

    def goes() -> None:
        asyncio.run(leave(stream, place, other.run_id))

    looks = iter([None, comes, goes])

    def seconds_left() -> float:
        if (work := next(looks, None)) is not None:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(work).result()
        return 60.0

    task = ReplayTask(there.task, there.queue, on_stale=StaleAction.FAIL)
    function = ReplayFunction(task, there.place.access, there.place.scratch / "replay")
    event = {"entity_id": entity, "start_time": at(0), "end_time": at(30)}
    answer = function(event, Invocation("waiting", seconds_left))
    function.close()
    assert (answer["error"]["reason"], answer["sent"]) == (Reason.STALE_EVENTS, 0)
    [found] = [there.place.body(key) for key in there.place.keys(stream.layout.target(place))]
    assert b"waiting" not in found  # and nobody waits for it


def test_what_a_run_has_sent_is_told_whatever_is_allowed_by_now(there: There) -> None:
    entity = "begun"
    there.capture(*range(20), entity=entity)
    before = there.place.waiting(there.queue)
    slow = {"policy": ReplayPolicy(maxEventsPerSecond=4)}
    function = ReplayFunction(
        ReplayTask(there.task, there.queue, **slow), there.place.access, there.place.scratch / "replay"
    )
    event = {"entity_id": entity, "start_time": at(0), "end_time": at(30), "run_key": entity}
    with pytest.raises(Unfinished):
        function(event, Invocation("r", lambda: 60.0 if there.place.waiting(there.queue) == before else 0.0))
    function.close()
    required = {"policy": ReplayPolicy(approval=Approval.REQUIRED)}
    declined = there.replay(entity, task=required)
    assert declined["error"]["reason"] == Reason.AWAITING_APPROVAL
    stream = there.place.opened(there.task)
    run = there.replay(entity, dry_run=True)["run_id"]
    sent = asyncio.run(read_progress(stream, run)).totals.sent
    assert 0 < sent < 20
    assert (declined["scanned"], declined["sent"]) == (20, sent)
    other = there.replay(entity, plan="0" * 64)
    assert (other["error"]["reason"], other["sent"]) == ("NoSuchPlan", sent)
    ended = there.replay(entity)
    assert ended["sent"] == 20
    assert there.replay(entity, task=required) == ended
