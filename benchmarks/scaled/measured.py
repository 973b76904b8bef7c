"""pik's operator as it is measured: over AWS (an emulator), or over an account in memory, which takes no time
of its own. `python measured.py KUBECONFIG NAMESPACE ENDPOINT|memory RESYNC WORKERS PORT`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pik.cluster.operator as process
from pik.api.capture_stream import CaptureStream
from pik.api.storage import Storage
from pik.aws.clients import AwsAccess
from pik.cluster.api import configuration
from pik.cluster.settings import OperatorSettings
from pik.controller.world import Timing
from pik.memory.index import MemoryIndex
from pik.memory.objects import MemoryObjectStore
from pik.memory.provisioning import MemoryAccount, MemoryProvisioner
from pik.planning.replay.spec import TargetAddress
from pik.ports.sinks import Sink
from pik.ports.system import Clock


class CloudInMemory:
    """`controller.cloud.Cloud`."""

    def __init__(self, clock: Clock) -> None:
        self._account = MemoryAccount()
        self._clock: Any = clock

    def of(self, stream: CaptureStream) -> CloudInMemory:  # noqa: ARG002
        return self

    def provisioner(self, region: str | None) -> MemoryProvisioner:  # noqa: ARG002
        return MemoryProvisioner(self._account)

    def objects(self, bucket: str, storage: Storage) -> MemoryObjectStore:  # noqa: ARG002
        return MemoryObjectStore(self._account.bucket(bucket), self._clock)

    def index(self, table: str, storage: Storage) -> MemoryIndex:  # noqa: ARG002
        return MemoryIndex(self._account.table(table))

    def sink(self, target: TargetAddress, authorization: object = None) -> Sink:
        raise NotImplementedError


async def run(kubeconfig: str, namespace: str, endpoint: str, resync: str, workers: str, port: str) -> None:
    settings = OperatorSettings(
        cluster="scale",
        namespace=namespace,
        identity="measured",
        watch=(namespace,),
        workers=int(workers),
        metrics_port=int(port),
        timing=Timing(resync=float(resync), first=10.0),
    )
    access = AwsAccess(endpoint_url=None if endpoint == "memory" else endpoint, region="us-east-1")
    if endpoint == "memory":
        process.AwsCloud = lambda _, *, clock, **__: CloudInMemory(clock)  # type: ignore[misc,assignment]
    async with process.operator(configuration(Path(kubeconfig)), access, settings) as made:
        running = asyncio.ensure_future(made.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
