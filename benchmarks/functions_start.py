"""How long a Lambda function takes to start, and how much memory it takes: `python
benchmarks/functions_start.py [--quick]`.

Each is deployed at an emulator from its package and invoked for the first time, beside the same package with
a handler that loads nothing of it: the emulator unpacks a package for each instance, AWS does otherwise.
Memory is what the process says that it had at most, after its start and after some real work: a request of
1,000 events, a replay of 10,000, a batch of ten messages that touch a bucket of 10,000.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from measuring.report import figure, report
from measuring.services import emulated
from measuring.turns import in_turns

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from functions.deployed import Place, build, place_at
from gateway.asgi import call
from pik.api.aggregate_version import TimeBucket
from pik.execution.stream_task import StreamTask
from pik.functions import ingest, processor, replay
from pik.functions.health import CHECK
from pik.functions.tasks import encode_task
from pik.planning.definitions import Measure

EVENTS = 10_000
MEMORY = 1_024  # MiB of a function
DAY = datetime(2013, 7, 10, tzinfo=UTC)
NOTHING = "operator.eq"  # a handler that is in Python itself


def event(number: int) -> dict[str, Any]:
    return {
        "source": "shop",
        "event_type": "paid",
        "entity_id": "order-1",
        "event_time": (DAY + timedelta(seconds=number)).isoformat(),
        "payload": {"amount": number, "shop": "ab"[number % 2]},
        "idempotency_key": f"k{number}",
    }


class Functions:
    """The three, over one stream."""

    def __init__(self, place: Place, scratch: Path) -> None:
        self.place = place
        self.stream: StreamTask = place.stream("measured")
        self.queue, _ = place.queue("to")
        self.count = 0
        one = processor.ProcessorTask(
            self.stream, "measured", TimeBucket.DAY, (Measure("revenue", "sum(payload.amount)"),)
        )
        self.variables = {
            "ingest": {ingest.TASK: encode_task(ingest.IngestTask(self.stream))},
            "replay": {replay.TASK: encode_task(replay.ReplayTask(self.stream, self.queue))},
            "processor": {processor.TASK: encode_task(one)},
        }
        self.packages = {name: build(name, scratch) for name in self.variables}

    def create(self, function: str, handler: str = "handler.handle") -> str:
        self.count += 1
        return self.place.create(
            self.packages[function],
            self.variables[function],
            f"{function}-{self.count}",
            memory=MEMORY,
            handler=handler,
            timeout=300,
        )

    def start(self, function: str, handler: str) -> Callable[[], float]:
        """Milliseconds of a first invocation."""

        def first() -> float:
            name = self.create(function, handler)
            began = time.perf_counter()
            self.place.invoke(name, CHECK)
            took = (time.perf_counter() - began) * 1_000
            self.place.delete(name)
            return took

        return first

    def capture(self) -> None:
        door = ingest.IngestFunction(ingest.IngestTask(self.stream), self.place.access, self.place.scratch)
        for start in range(0, EVENTS, 1_000):
            body = json.dumps([event(number) for number in range(start, start + 1_000)]).encode()
            answer = asyncio.run(call(door.gateway, "/v1/streams/default/s/events", body))
            if answer.status != 200:
                raise RuntimeError(f"not captured: {answer.body}")

    def work(self, function: str) -> dict[str, Any]:
        if function == "ingest":
            return {
                "rawPath": "/",
                "headers": {"content-type": "application/json"},
                "requestContext": {"http": {"method": "POST"}},
                "body": json.dumps([event(number) for number in range(1_000)]),
            }
        if function == "replay":
            end = (DAY + timedelta(days=1)).isoformat()
            return {"entity_id": "order-1", "start_time": DAY.isoformat(), "end_time": end}
        bodies = self.place.received(self.queue, 10)[:10]
        records = [
            {"messageId": str(n), "eventSource": "aws:sqs", "body": body} for n, body in enumerate(bodies)
        ]
        return {"Records": records}

    def measured(self, function: str) -> dict[str, Any]:
        """Of one instance: after its start, and after it did something."""
        name = self.create(function)
        before = self.place.invoke(name, CHECK)
        warm = []
        for _ in range(11):
            began = time.perf_counter()
            self.place.invoke(name, CHECK)
            warm.append((time.perf_counter() - began) * 1_000)
        asked = self.work(function)
        began = time.perf_counter()
        answer = self.place.invoke(name, asked)
        took = time.perf_counter() - began
        after = self.place.invoke(name, CHECK)
        self.place.delete(name)
        if answer.get("sent", EVENTS) != EVENTS or answer.get("batchItemFailures"):
            raise RuntimeError(f"{function} did not do it: {answer}")
        return {
            "start_cpu_seconds": before["cpu_seconds"],
            "start_peak_mib": before["peak_mib"],
            "warm_milliseconds": round(sorted(warm)[5], 1),
            "work_seconds": round(took, 2),
            "work_peak_mib": after["peak_mib"],
        }


def main() -> int:
    rounds = 3 if "--quick" in sys.argv else 7
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pik-bench-")))
        place = stack.enter_context(place_at(stack.enter_context(emulated()), scratch))
        functions = Functions(place, scratch)
        functions.capture()
        more = {name: functions.measured(name) for name in ("ingest", "replay", "processor")}
        sides = {
            f"{name}{kind}": functions.start(name, handler)
            for name in more
            for kind, handler in (("", "handler.handle"), (", nothing loaded", NOTHING))
        }
        samples = in_turns(sides, rounds)
    figures = [figure("first invocation", samples, name, f"{name}, nothing loaded") for name in more]
    return 0 if report("functions", "milliseconds", samples, figures, **more) else 1


if __name__ == "__main__":
    sys.exit(main())
