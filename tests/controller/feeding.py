"""Manifests of streams with functions and sources, and the ways in which these come into trouble."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from controller.clusters import Cluster
from controller.manifests import STREAM
from pik.controller.roles import LocalRights, NoRoles
from pik.domain.errors import Denied, Fenced, Unavailable

ROLE = "arn:aws:iam::000000000000:role/ingest"
QUEUE = {"name": "orders", "type": "SQS", "sqs": {}}
KINESIS = {"name": "clicks", "type": "Kinesis", "kinesis": {"startingPosition": "Latest"}}
BUS = {
    "name": "bus",
    "type": "EventBridge",
    "eventBridge": {"pattern": '{"source":["shop"]}', "entityID": {"paths": ["order"]}},
}
OBJECTS = {"name": "old", "type": "S3", "s3": {"bucket": "archive", "prefix": "2025/", "format": "NDJSON"}}


def stream(*sources: dict[str, Any], function: Any = ..., **spec: Any) -> str:
    manifest = yaml.safe_load(STREAM)
    ingest: dict[str, Any] = {}
    if function is not None:
        ingest["lambda"] = {"roleARN": ROLE} if function is ... else function
    if sources:
        ingest["sources"] = list(sources)
    manifest["spec"] |= {"ingest": ingest, **spec}
    return yaml.safe_dump(manifest)


PROCESSING = {
    "roleARN": ROLE,
    "bucket": "Hour",
    "measures": [{"name": "events", "expression": "count(*)"}],
    "maxReceiveCount": 3,
}


async def in_trouble(cluster: Cluster) -> None:
    """Every reason that functions and sources can have."""
    cluster.account.bucket("archive").exists = True
    archive = cluster.cloud.objects("archive", None)
    cluster.cloud.lambdas.ailing = lambda _: "ImportError"
    cluster.apply(stream(QUEUE))
    await cluster.settle()
    cluster.cloud.lambdas.ailing = lambda _: None
    await _heals(cluster)
    for call in ("functions.function", "sources.queue"):
        for error in (Unavailable("away"), Denied("no"), Fenced("odd")):
            cluster.cloud.fault = lambda at, call=call, error=error: error if at == call else None
            await cluster.advance(1_000)
        cluster.cloud.fault = lambda _: None
        await _heals(cluster)
    cluster.packages.release = "2"
    cluster.cloud.lambdas.ailing = lambda _: "ImportError"
    await cluster.advance(1_000)
    cluster.cloud.lambdas.ailing = lambda _: None
    cluster.packages.missing = True
    await cluster.advance(1_000)
    cluster.packages.missing = False
    await archive.create("2025/x", b"\xff\xfe nothing that is read")
    await cluster.advance(1_000)
    cluster.account.bucket("archive").objects.clear()
    cluster.account.bucket("archive").exists = False
    await cluster.advance(1_000)
    cluster.account.bucket("archive").exists = True
    for rights in (NoRoles(), _WithoutSources(), LocalRights()):
        cluster.roles = rights
        cluster.start()
        await cluster.settle()
    missing = {"queueARN": "arn:aws:sqs:us-east-1:000000000000:gone"}
    cluster.apply(stream({"name": "gone", "type": "SQS", "sqs": missing}))
    await cluster.settle()
    wrong = {**PROCESSING, "measures": [{"name": "x", "expression": "nonsense("}]}
    cluster.apply(stream(QUEUE, processing=wrong))
    await cluster.settle()
    await _heals(cluster)
    cluster.apply(stream(QUEUE, OBJECTS, suspend=True))
    await cluster.settle()
    await _of_others(cluster)
    await _drifting(cluster)


async def _heals(cluster: Cluster) -> None:
    cluster.apply(stream(QUEUE, OBJECTS))
    await cluster.settle()
    await cluster.advance(1_000)


async def _of_others(cluster: Cluster) -> None:
    await _heals(cluster)
    functions, queues = cluster.cloud.lambdas.functions, cluster.cloud.pipes.queues
    for all_of in (functions, queues):
        good = dict(all_of)
        for name, there in good.items():
            all_of[name] = msgspec.structs.replace(there, tags={})
        await cluster.advance(1_000)
        all_of.update(good)


async def _drifting(cluster: Cluster) -> None:
    cluster.apply(stream(QUEUE, OBJECTS, driftPolicy="Report"))
    await cluster.settle()
    await cluster.advance(1_000)
    functions, queues = cluster.cloud.lambdas.functions, cluster.cloud.pipes.queues
    for name, there in functions.items():
        functions[name] = msgspec.structs.replace(there, concurrency=3)
    for name, queue in queues.items():
        queues[name] = msgspec.structs.replace(queue, visibility_seconds=1)
    await cluster.advance(1_000)


class _WithoutSources(NoRoles):
    def check_function_role(self, *_: object, **__: object) -> None: ...
