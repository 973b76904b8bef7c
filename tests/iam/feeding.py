"""A stream with all functions and sources: made, changed, held, and taken away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import yaml

from iam.account import ACCOUNT, REGION, Account, arn_of
from iam.stage import Stage
from pik.aws.clients import AwsAccess
from pik.controller.function_tasks import environment
from pik.controller.objects import ObjectKey
from pik.functions import processor, replay
from pik.functions.invocations import Invocation
from pik.functions.processor import ProcessorFunction, ProcessorTask
from pik.functions.replay import ReplayFunction, ReplayTask
from pik.functions.tasks import decode_task
from pik.planning.functions import FunctionKind

KEY = ObjectKey("CaptureStream", "default", "fed")
EVENT = {
    "source": "shop",
    "event_type": "paid",
    "entity_id": "e1",
    "event_time": "2026-02-10T00:00:00Z",
    "payload": 1,
    "idempotency_key": "k1",
}
LINE = json.dumps(EVENT).encode()
_SPEC: dict[str, Any] = {
    "storage": {"prefix": "fed", "deletionPolicy": "Delete"},
    "ingest": {
        "lambda": {"roleARN": arn_of("ingest"), "url": {"authType": "None"}, "reservedConcurrency": 5},
        "sources": [
            {"name": "own", "type": "SQS", "sqs": {}},
            {
                "name": "theirs",
                "type": "SQS",
                "sqs": {"queueARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:inbox"},
            },
            {"name": "clicks", "type": "Kinesis", "kinesis": {}},
            {
                "name": "more",
                "type": "Kinesis",
                "kinesis": {"streamARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/orders"},
            },
            {
                "name": "bus",
                "type": "EventBridge",
                "eventBridge": {
                    "busName": "orders",
                    "pattern": '{"source": ["shop"]}',
                    "entityID": {"paths": ["id"]},
                },
            },
            {
                "name": "old",
                "type": "S3",
                "s3": {"bucket": "old", "prefix": "2025/", "format": "NDJSON"},
            },
        ],
    },
    "replay": {"lambda": {"roleARN": arn_of("replay")}},
    "processing": {
        "roleARN": arn_of("processor"),
        "bucket": "Day",
        "measures": [{"name": "events", "expression": "count(*)"}],
    },
}


def stream(**changes: Any) -> str:
    """`changes`: of the function `ingest`."""
    spec = json.loads(json.dumps(_SPEC))
    spec["ingest"]["lambda"] |= changes
    spec["ingest"]["lambda"] = {name: value for name, value in spec["ingest"]["lambda"].items() if value}
    return _text(spec)


def _text(spec: dict[str, Any]) -> str:
    manifest = {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {"name": KEY.name},
        "spec": spec,
    }
    text: str = yaml.safe_dump(manifest)
    return text


async def perform(account: Account, stage: Stage, accesses: dict[str, AwsAccess]) -> None:
    """From here on the operator's clock is ahead."""
    await _applied(stage, stream())
    await _invoked(stage, accesses)
    for release in (2, 3, 4):  # of which the first are forgotten
        stage.small.release = release
        await _applied(stage, stream(memoryMiB=1_024 + release, url={"authType": "IAM"}))
    function = stage.status(KEY).functions[0].arn.removesuffix(":live")
    account.root("lambda").untag_resource(Resource=function, TagKeys=["pik.dev/owner"])
    await stage.advance(700)
    await _applied(stage, stream(url=None))
    held = yaml.safe_load(stream(url=None))
    held["spec"]["suspend"] = True
    stage.apply(yaml.safe_dump(held))
    await stage.settle()
    await _applied(stage, stream(url=None))
    stage.delete(KEY)
    await stage.settle()
    assert KEY not in stage.objects.there


async def _applied(stage: Stage, text: str) -> None:
    stage.apply(text)
    for _ in range(20):
        await stage.advance(5)
        if stage.condition(KEY, "Ready") == ("True", "Provisioned"):
            return
    raise AssertionError(stage.status(KEY))


async def _invoked(stage: Stage, accesses: dict[str, AwsAccess]) -> None:
    """The functions themselves, each with the rights of its role, on a stream that stays."""
    orders = ObjectKey("CaptureStream", "default", "orders")
    opened = stage.opened(orders)
    spec = stage.stream(KEY).spec
    resource = stage.stream(orders)
    given = {"replay": spec.replay, "processing": spec.processing}
    resource = resource.model_copy(update={"spec": resource.spec.model_copy(update=given)})
    queue = next(one.queueURL for one in stage.status(KEY).functions if one.name == "replay")

    def told(kind: FunctionKind) -> dict[str, str]:
        return environment(kind, resource, opened, (), queue)

    invocation = Invocation("request", lambda: 60.0)
    task = decode_task(told(FunctionKind.REPLAY)[replay.TASK], ReplayTask)
    scratch = stage.directory / "function"
    replays = await asyncio.to_thread(ReplayFunction, task, accesses["replay"], scratch)
    asking = {"entity_id": "e1", "start_time": "2026-02-01T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}
    answer = await asyncio.to_thread(replays, asking, invocation)
    assert answer["sent"] > 1, answer
    again = await asyncio.to_thread(replays, asking, Invocation("another", lambda: 60.0))
    assert again["sent"] == answer["sent"]
    await asyncio.to_thread(replays.close)

    wanted = decode_task(told(FunctionKind.PROCESSOR)[processor.TASK], ProcessorTask)
    computes = await asyncio.to_thread(ProcessorFunction, wanted, accesses["processor"], scratch)
    body = {
        "pikstream": opened.place.stream_id,
        "pikrun": answer["run_id"],
        "time": EVENT["event_time"],
    }
    record = {"messageId": "m", "eventSource": "aws:sqs", "body": json.dumps(body), "messageAttributes": {}}
    taken = await asyncio.to_thread(computes, {"Records": [record]}, invocation)
    assert taken == {"batchItemFailures": []}
    await asyncio.to_thread(computes.close)
