"""pik's parts, each at work in a role of its own: an operator whose work is done by Jobs, their pods, a
gateway, and functions."""

from __future__ import annotations

import asyncio
import io
import zipfile
from dataclasses import replace
from pathlib import Path

from controller.clusters import Cluster, _manifest
from gateway.asgi import call
from iam.account import REGION
from kube.jobs_api import JobsApi
from pik.api.capture_stream import CaptureStream
from pik.api.functions import Architecture
from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cluster.doors import DoorKeeper
from pik.cluster.jobs.children import Children
from pik.cluster.jobs.computations import JobComputations
from pik.cluster.jobs.runs import JobRuns
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.task import ReplayTask, decode_task
from pik.cluster.jobs.verdicts import ExitCode
from pik.cluster.jobs.watching import JobOnlooker
from pik.cluster.jobs.worker import Surroundings, work
from pik.controller.aws_cloud import AwsCloud
from pik.controller.objects import ObjectKey
from pik.controller.reconcilers import reconcilers
from pik.controller.workshop import Workshop
from pik.controller.world import Timing
from pik.domain.instants import Instant
from pik.gateway.app import Gateway
from pik.memory.system import ManualClock
from pik.planning.functions import FunctionKind, code_digest
from pik.planning.roles import RoleMap

TIMING = Timing(resync=600.0, counters=60.0, seals=300.0, orphans=3_600.0, rebuild=60.0, settle=0.0)
KIT = "application/json"
_SETTINGS = JobSettings(image="pik:test", environment={"AWS_REGION": REGION}, loopback=True)


class SmallPackages:
    """`ports.Packages`: functions that are well, and do nothing. `release`: what they are made of."""

    release = 1

    async def digest(self, kind: FunctionKind, architecture: Architecture) -> str:
        return code_digest(await self.read(kind, architecture))

    async def read(self, kind: FunctionKind, architecture: Architecture) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            text = f"def handle(event, context):\n    return {{'n': {self.release}}}\n"
            archive.writestr(zipfile.ZipInfo("handler.py"), text)
        return buffer.getvalue()


class Stage(Cluster):
    """`accesses`: by part: operator, gateway, worker, aggregate, ingest."""

    def __init__(
        self, directory: Path, name: str, accesses: dict[str, AwsAccess], roles: RoleMap | None = None
    ) -> None:
        """`roles`: that are assumed for streams."""
        self.accesses = accesses
        self.settings = _SETTINGS
        self.small = SmallPackages()
        self.assumed = roles or RoleMap()
        self.directory = directory
        self.io, self.cpu = ThreadOffload(8, "aws"), ThreadOffload(1, "cpu")
        self.api: JobsApi | None = None
        self._clouds: dict[str, AwsCloud] = {}
        super().__init__(
            directory / name, name=name, timing=TIMING, cloud=lambda *_: self.cloud_of("operator")
        )
        self.catch_up()

    def cloud_of(self, part: str) -> AwsCloud:
        if part not in self._clouds:
            self._clouds[part] = AwsCloud(
                self.accesses[part],
                io=self.io,
                cpu=self.cpu,
                clock=self.clock,
                entropy=SystemEntropy(),
                loopback=True,
                roles=self.assumed,
            )
        return self._clouds[part]

    def start(self) -> None:
        super().start()
        self.world = replace(self.world, packages=self.small)
        self.api = self.api or JobsApi(self.clock)
        children = Children(self.api, _SETTINGS.ttl)
        self.world = replace(
            self.world,
            runs=JobRuns(children, _SETTINGS, self.clock),
            computations=JobComputations(children, _SETTINGS, self.clock),
        )
        self.manager.reconcilers = reconcilers(self.world)

    async def close(self) -> None:
        await self.stop()
        self.io.close()
        self.cpu.close()

    async def work(self) -> None:
        """Pods do what Jobs ask for, and the operator sees what came of it."""
        assert self.api is not None
        for job in self.api.jobs():
            if "conditions" in job.get("status", {}):
                continue
            (container,) = job["spec"]["template"]["spec"]["containers"]
            task = decode_task({each["name"]: each.get("value") for each in container["env"]}["PIK_TASK"])
            replays = isinstance(task, ReplayTask)
            for shard in range(job["spec"]["completions"]) if replays else [None]:
                around = Surroundings(
                    self.accesses["worker" if replays else "aggregate"],
                    shard,
                    f"pod-{shard}",
                    self.directory / "pod",
                    self.directory / "secrets",
                )
                verdict = await work(task, around, asyncio.Event())
                assert verdict.code is ExitCode.DONE, verdict
            self.api.ended(job, "Complete", succeeded=job["spec"]["completions"])
            JobOnlooker(self.queue.add).seen(job)
        self.catch_up()
        await self.settle()

    async def send(self, key: ObjectKey, body: bytes, *, form: str = KIT, behind: float = 0.0) -> list[str]:
        """By a gateway of its own, whose clock is so many seconds behind. The answers' statuses."""
        clock = ManualClock(Instant(SystemClock().now().micros - round(behind * 1e6)))
        entropy, cloud = SystemEntropy(), self.cloud_of("gateway")
        workshop = Workshop(
            cloud,
            clock=clock,
            entropy=entropy,
            offload=self.cpu,
            cache=self.directory / "gateway",
            wake=lambda _: None,
        )
        keeper = DoorKeeper(
            workshop, cloud, self.name, clock=clock, entropy=entropy, forgotten=lambda _: None
        )
        keeper.listed(None, [_manifest(self.objects.there[key])])
        await keeper._look(key)
        path = f"/v1/streams/{key.namespace}/{key.name}/events"
        answer = await call(Gateway(workshop.door), path, body, headers={"content-type": form})
        await workshop.close(key)
        self.catch_up()
        return [one["status"] for one in answer.body.get("answers", [{"status": str(answer.body)}])]

    def annotate(self, key: ObjectKey, **annotations: str) -> None:
        resource = self.objects.there[key]
        meta = resource.metadata.model_copy(update={"annotations": annotations})
        self.objects.there[key] = resource.model_copy(update={"metadata": meta})  # type: ignore[assignment]
        self.manager.changed(key)

    def catch_up(self) -> None:
        """It is now for the operator too, as it is for pods and for S3; until then no time passes for it."""
        self.clock.advance(max(0.0, (SystemClock().now().micros - self.clock.now().micros) / 1e6))

    def stream(self, key: ObjectKey) -> CaptureStream:
        found = self.objects.there[key]
        assert isinstance(found, CaptureStream)
        return found
