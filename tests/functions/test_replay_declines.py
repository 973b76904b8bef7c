"""What the function `replay` tells of a run that was begun, and of a plan that is out of date."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from functions.deployed import Place, place_at
from functions.requests import EVENT, EVENTS
from gateway.asgi import call as post
from pik.api.capture_stream import Approval, ReplayPolicy
from pik.api.conditions import Reason
from pik.api.replay_job import StaleAction
from pik.execution.replay.ledger import read_progress
from pik.execution.replay.runs import read_record
from pik.execution.stream_task import StreamTask
from pik.functions.ingest import IngestFunction, IngestTask
from pik.functions.invocations import Invocation
from pik.functions.replay import ReplayFunction, ReplayTask, Unfinished

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
