"""What a process of the campaign does: the product's own programs and functions, over ports that may end it.

`pik` runs a command line of the product (`pik worker`, `pik up`). The others do what the operator's process
and the gateway's do, without a cluster around them: `serve` takes events over HTTP, `build` makes a stream
and its index, `plan`, `conclude` and `ask` are what a pass of the operator does about a replay or aggregate,
`orphans` and `seal` are its timers, `take_over` makes another cluster the owner.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from crash.fate import Counts, Doom, Doomed, doomed_app
from crash.steps import Step
from pik.api.capture_stream import IndexWrites
from pik.api.replay_job import ReplayJobSpec
from pik.api.storage import Storage
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.index_items import SCHEMA
from pik.controller.aws_cloud import AwsCloud
from pik.controller.engines import selector_of
from pik.controller.workshop import Workshop
from pik.controller.world import Timing
from pik.domain.instants import Instant
from pik.domain.intake import IntakeRules
from pik.domain.layout import Layout
from pik.execution.aggregate.answers import keep_definition
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.capture.settings import CaptureSettings
from pik.execution.orphans import index_orphans
from pik.execution.ownership import Claimant, claim
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.reindex import reindex
from pik.execution.replay.conclusion import conclude_shards
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.runs import begin_run, read_record
from pik.execution.seals import seal_segments
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.gateway.app import Gateway
from pik.gateway.doors import Door
from pik.gateway.server import serving
from pik.local.machine import Machine, machine
from pik.local.up import UpSettings
from pik.planning.definitions import Definition
from pik.planning.replay.spec import replay_spec, run_id

SETTINGS = CaptureSettings(void_wait=0.4)
"""A dead writer's segment is not waited for as long as on AWS."""

READY = "ready"
"""In a writer's folder, once it takes events and can be told to end."""

NAMESPACE, NAME = "tests", "things"


class Order(msgspec.Struct, frozen=True):
    """`home`: the process's own folder. `step`: at which it ends."""

    role: str
    endpoint: str
    home: str
    step: Step | None
    options: dict[str, Any]


def run(text: bytes) -> None:
    """The process. Its exit code is 0 where the role came to its end."""
    order = msgspec.json.decode(text, type=Order)
    home = Path(order.home)
    _print_to(home / "output")
    os.environ.update(order.options.pop("environment", {}))
    os.environ.update(
        AWS_ENDPOINT_URL=order.endpoint,
        AWS_REGION="us-east-1",
        TMPDIR=str(home),
        PIK_SCRATCH=str(home / "scratch"),
    )
    doom = Doom(order.step, home / "hits", Counts(home / "counts"))
    _doom_clouds(doom, order.options.pop("ahead", None))
    if order.role == "pik":
        words = order.options["words"]
        sys.argv = ["pik", *words]
        importlib.import_module("pik.cli.main").main(words)
        return
    access = AwsAccess(endpoint_url=order.endpoint, region="us-east-1", connections=16)
    with machine(access) as made:
        work = _ROLES[order.role]
        result = asyncio.run(work(made, home, doom, **order.options))
    (home / "result").write_bytes(msgspec.json.encode(result))


def _print_to(file: Path) -> None:
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.close(number)


def _doom_clouds(doom: Doom, ahead: str | None) -> None:
    """Whoever makes a cloud in this process makes one whose ports end it. `ahead`: a file that says
    how many seconds its clocks are."""

    class DoomedCloud(AwsCloud):
        def __init__(self, access: AwsAccess, **parts: Any) -> None:
            super().__init__(access, **{**parts, "observer": doom})

        def objects(self, bucket: str, storage: Storage) -> Any:
            return Doomed("objects", super().objects(bucket, storage), doom)

        def index(self, *given: Any) -> Any:
            return Doomed("index", super().index(*given), doom)

        def sink(self, *target: Any) -> Any:
            return Doomed("sink", super().sink(*target), doom)

    def workshop(*given: Any, **named: Any) -> Workshop:
        return Workshop(*given, **{"settings": SETTINGS, **named})

    for name in ("pik.local.machine", "pik.cluster.jobs.worker"):
        module: Any = importlib.import_module(name)
        module.AwsCloud = DoomedCloud
        if ahead is not None:
            module.SystemClock = _clock_ahead(module.SystemClock, Path(ahead))
    up: Any = importlib.import_module("pik.local.up")
    up.Workshop = workshop
    up.UpSettings = partial(UpSettings, timing=Timing(resync=5.0, rebuild=1.0, counters=2.0, seals=2.0))


def _clock_ahead(clock: Any, file: Path) -> Any:
    class Ahead(clock):  # type: ignore[misc]
        def now(self) -> Instant:
            return Instant(super().now().micros + int(file.read_text()) * 1_000_000)

    return Ahead


def opened(
    made: Machine, home: Path, task: StreamTask, writes: IndexWrites = IndexWrites.STATEMENTS
) -> Stream:
    storage = Storage(prefix=task.prefix, region=task.region, retentionDays=task.retention_days)
    objects = made.cloud.objects(task.bucket, storage)
    return Stream(
        namespace=task.namespace,
        name=task.name,
        layout=Layout(f"{task.prefix}/", task.stream_id),
        deduplication=task.deduplication,
        retention_days=task.retention_days,
        fingerprint_exclude=(),
        objects=objects,
        index=made.cloud.index(task.table, storage, writes),
        files=SegmentCache(objects, home / "segments", made.work),
        codec=ParquetCodec(),
        clock=made.clock,
        entropy=made.entropy,
        offload=made.work,
        epoch=task.epoch,
    )


def _task(stream: dict[str, Any]) -> StreamTask:
    return msgspec.convert(stream, StreamTask)


async def _serve(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], port: int, writes: str
) -> None:
    """Until SIGTERM."""
    here = opened(made, home, _task(stream), IndexWrites(writes))
    capture = Capture(here, SETTINGS)
    claims = ReplayClaims(lambda known: here if known == here.layout.stream_id else None)
    door = Door(IntakeRules(), capture, claims, made.work)
    gateway = Gateway(lambda _, name: door if name == here.name else None)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(doomed_app(gateway, doom), "127.0.0.1", port, closing=gateway.close):
        (home / READY).touch()
        await stop.wait()
    await capture.close()


async def _build(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], cluster: str, again: bool = False
) -> dict[str, Any]:
    """The stream's owner, and its index: made where there is none, or anew with `again`."""
    task = _task(stream)
    dynamodb = AwsClients(AwsAccess(endpoint_url=os.environ["AWS_ENDPOINT_URL"])).client("dynamodb")

    async def ensure_table() -> None:
        try:
            dynamodb.create_table(TableName=task.table, BillingMode="PAY_PER_REQUEST", **SCHEMA)
        except dynamodb.exceptions.ResourceInUseException:
            return

    objects = opened(made, home, task).objects
    owner = await claim(objects, f"{task.prefix}/", Claimant(cluster, NAMESPACE, NAME), made.entropy)
    here = opened(made, home, msgspec.structs.replace(task, stream_id=owner.stream_id, epoch=owner.epoch))
    await ensure_table()
    state = await here.index.generation()
    if again or state is None or not state.ready:
        await reindex(here, ensure_table)
    return {"stream_id": owner.stream_id, "epoch": owner.epoch}


async def _take_over(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], cluster: str, old: str
) -> dict[str, Any]:
    objects = opened(made, home, _task(stream)).objects
    claimant = Claimant(cluster, NAMESPACE, NAME)
    named = f"{old}/{NAMESPACE}/{NAME}"
    prefix = f"{stream['prefix']}/"
    owner = await claim(objects, prefix, claimant, made.entropy, take_over_from=named)
    return {"stream_id": owner.stream_id, "epoch": owner.epoch}


async def _orphans(made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any]) -> int:
    return len((await index_orphans(opened(made, home, _task(stream)))).indexed)


async def _seal(made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any]) -> None:
    await seal_segments(opened(made, home, _task(stream)), settle=0)


async def _plan(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], job: dict[str, Any], name: str
) -> dict[str, Any]:
    """The run's record, found or begun, as a pass of the operator does it."""
    here = opened(made, home, _task(stream))
    spec = replay_spec(ReplayJobSpec.model_validate(job), NAMESPACE)
    run = run_id(here.layout.stream_id, NAMESPACE, name, "1")
    record = await read_record(here, run)
    if record is None:
        snapshot = await take_snapshot(here, now=here.clock.now())
        plan = await dry_run(here, snapshot, spec, run, selector_of(here, None))
        record = await begin_run(here, plan, namespace=NAMESPACE, name=name, run_key="1", approved_by=None)
    return {"run_id": run, "plan_hash": record.plan_hash}


async def _conclude(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], run: str
) -> dict[str, Any] | None:
    end = await conclude_shards(opened(made, home, _task(stream)), run, {})
    built: dict[str, Any] | None = msgspec.to_builtins(end)
    return built


async def _ask(
    made: Machine, home: Path, doom: Doom, *, stream: dict[str, Any], definition: dict[str, Any]
) -> str:
    asked = msgspec.convert({**definition, "streamID": stream["stream_id"]}, Definition)
    await keep_definition(opened(made, home, _task(stream)), asked)
    return asked.hash


_ROLES: dict[str, Callable[..., Awaitable[Any]]] = {
    "serve": _serve,
    "build": _build,
    "take_over": _take_over,
    "orphans": _orphans,
    "seal": _seal,
    "plan": _plan,
    "conclude": _conclude,
    "ask": _ask,
}
