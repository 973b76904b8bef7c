"""How long 1,000 CaptureStreams take to be Ready, beside a bare kopf operator, and what they cost afterwards.

    python benchmarks/operator_scale.py [--streams 1000] [--resync 600] [--batch 100] [--json FILE]

On a real API server (started for it) and the embedded AWS emulator.
Three operators, each with a namespace of its own: a bare one that only says Ready, pik's over AWS in memory,
and pik's over the emulator. The objects come in batches to one after the other, so that another load on the
machine meets all three; the time of a batch is that from its first object until all of it is Ready. Then,
with all objects there, each of pik's is left alone for a resync.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

PROJECT = Path(__file__).parent.parent
sys.path.append(str(PROJECT / "localstack"))

from cluster import handle  # noqa: E402
from cluster.handle import Cluster  # noqa: E402
from pik.aws.clients import AwsAccess, AwsClients  # noqa: E402
from pik.aws.system import ThreadOffload  # noqa: E402
from pik.cluster.api import KubeApi, configuration  # noqa: E402
from pik.cluster.listing import list_all  # noqa: E402
from pik.local import emulator as embedded  # noqa: E402

HERE = Path(__file__).parent / "scaled"
OBJECTS = "/apis/pik.dev/v1alpha1/namespaces/{}/capturestreams"
_POLL = 0.1  # seconds between two looks at what is Ready; its share of a batch is small
_LIMIT = 1_800.0  # seconds for a batch


@dataclass
class Measured:
    """One operator: its process, and what is known of it. Times in seconds, memory in MB."""

    name: str
    namespace: str
    process: subprocess.Popen[bytes]
    port: int | None = None
    batches: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # of the process, by batch
    memory: dict[int, float] = field(default_factory=dict)  # by number of objects
    calls: dict[str, float] = field(default_factory=dict)  # of AWS, until all was Ready
    aws_seconds: float = 0.0
    idle: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--resync", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--idle", type=float, help="seconds to watch what is idle; default: a resync")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pik-scale-")))
        started = handle.start(scratch / "cluster", os.environ)
        stack.callback(started.stop)
        started.cluster.kubectl("apply", "--server-side", "-f", PROJECT / "crds")
        emulator = embedded.start(
            embedded.install(embedded.cache_directory(os.environ)), log=scratch / "emulator.log"
        )
        stack.callback(embedded.stop, emulator)
        measured = [
            _bare(started.cluster, stack, scratch),
            _pik(started.cluster, stack, scratch, "memory", "memory", options),
            _pik(started.cluster, stack, scratch, "emulator", emulator.endpoint, options),
        ]
        asyncio.run(_measure(started.cluster, measured, emulator, options))
    report = {"options": {key: str(value) for key, value in vars(options).items()}, **_figures(measured)}
    _print(measured, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _bare(cluster: Cluster, stack: ExitStack, scratch: Path) -> Measured:
    return _started(cluster, stack, scratch, "bare", ["bare.py"], [], None)


def _pik(
    cluster: Cluster, stack: ExitStack, scratch: Path, name: str, aws: str, options: argparse.Namespace
) -> Measured:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = [aws, str(options.resync), str(options.workers), str(port)]
    return _started(cluster, stack, scratch, name, ["measured.py"], more, port)


def _started(
    cluster: Cluster,
    stack: ExitStack,
    scratch: Path,
    name: str,
    program: list[str],
    more: list[str],
    port: int | None,
) -> Measured:
    namespace = f"scale-{name}"
    cluster.kubectl("create", "namespace", namespace)
    log = stack.enter_context((scratch / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        [sys.executable, str(HERE / program[0]), str(cluster.kubeconfig), namespace, *more],
        stdout=log,
        stderr=log,
        env=cluster.environment(),
    )
    stack.callback(_ended, process)
    return Measured(name, namespace, process, port)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _measure(
    cluster: Cluster, measured: list[Measured], emulator: embedded.Emulator, options: argparse.Namespace
) -> None:
    threads, watches = ThreadOffload(16), ThreadOffload(1)
    api = KubeApi(configuration(cluster.kubeconfig), threads, watches, 16)
    for one in measured:  # all are up, and have done whatever is done once
        await _batch(api, one, 0, 5, warm=True)
        one.memory[0] = _memory(one)
    for first in range(0, options.streams, options.batch):
        last = min(first + options.batch, options.streams)
        for one in measured:
            await _batch(api, one, first, last)
        print(f"{last} objects: " + ", ".join(f"{one.name} {one.batches[-1]:.1f} s" for one in measured))
        if last in (options.streams // 2, options.streams):
            for one in measured:
                one.memory[last] = _memory(one)
    for one in measured[1:]:
        one.calls, one.aws_seconds = _aws(one)
    await asyncio.sleep(5)
    began = {one.name: (_cpu(one.process.pid), _aws(one) if one.port else None) for one in measured}
    busy, since = _cpu(emulator.pid), time.monotonic()
    call = await _idle(emulator.endpoint, options)
    passed = time.monotonic() - since
    for one in measured:
        cpu, before = began[one.name]
        one.idle = {"core": (_cpu(one.process.pid) - cpu) / passed, "memory": _memory(one)}
        if before is not None:
            calls, _ = _aws(one)
            found = {call: number - before[0].get(call, 0) for call, number in calls.items()}
            one.idle["calls"] = {call: number for call, number in found.items() if number}
            one.idle["calls_an_object_and_resync"] = (
                sum(found.values()) / options.streams / passed * options.resync
            )
            one.idle["core_of_bare_calls"] = sum(found.values()) * call / passed
            one.idle["bare_call_cpu"] = call
    measured[-1].idle["emulator_core"] = (_cpu(emulator.pid) - busy) / passed
    threads.close()
    watches.close()


async def _idle(endpoint: str, options: argparse.Namespace) -> float:
    """Waits. Seconds of CPU that a bare call of boto3 takes meanwhile, whatever else the machine does."""
    s3 = AwsClients(AwsAccess(endpoint_url=endpoint)).client("s3")
    await asyncio.to_thread(s3.create_bucket, Bucket="bare-calls")
    calls, cpu, until = 0, 0.0, time.monotonic() + (options.idle or options.resync)
    while time.monotonic() < until:
        began = time.process_time()
        for _ in range(20):
            s3.get_bucket_versioning(Bucket="bare-calls")
        cpu += time.process_time() - began
        calls += 20
        await asyncio.sleep(5)
    return cpu / calls


async def _batch(api: KubeApi, one: Measured, first: int, last: int, *, warm: bool = False) -> None:
    path = OBJECTS.format(one.namespace)
    prefix = "warm" if warm else "stream"
    names = {f"{prefix}-{number:04}" for number in range(first, last)}
    cpu, began = _cpu(one.process.pid), time.monotonic()
    await asyncio.gather(*[api.create(path, _manifest(name)) for name in sorted(names)])
    while names:
        if time.monotonic() - began > _LIMIT or one.process.poll() is not None:
            raise SystemExit(f"{one.name}: {len(names)} objects are not Ready, {min(names)} for one")
        for found in (await list_all(api, path)).objects:
            conditions = found.get("status", {}).get("conditions", ())
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                names.discard(found["metadata"]["name"])
        await asyncio.sleep(_POLL)
    if not warm:
        one.batches.append(time.monotonic() - began)
        one.cpu.append(_cpu(one.process.pid) - cpu)


def _manifest(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {"name": name},
        "spec": {"storage": {"prefix": "events"}},
    }


def _memory(one: Measured) -> float:
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _aws(one: Measured) -> tuple[dict[str, float], float]:
    """Requests by operation, and the seconds that they took together."""
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{one.port}/metrics") as answer:
        text = answer.read().decode()
    calls: dict[str, float] = {}
    for operation, number in _samples(text, "pik_aws_requests_total"):
        calls[operation] = calls.get(operation, 0) + number
    return calls, sum(number for _, number in _samples(text, "pik_aws_request_duration_seconds_sum"))


def _samples(text: str, name: str) -> Iterator[tuple[str, float]]:
    for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
        operation = re.search(r'operation="(\w+)"', labels)
        yield (operation[1] if operation else ""), float(value)


def _figures(measured: list[Measured]) -> dict[str, Any]:
    bare = measured[0]
    return {
        one.name: {
            "seconds": sum(one.batches),
            "ratio": sum(one.batches) / sum(bare.batches),
            "cpu_seconds": sum(one.cpu),
            "batches": one.batches,
            "memory": one.memory,
            "calls": one.calls,
            "aws_seconds": one.aws_seconds,
            "idle": one.idle,
        }
        for one in measured
    }


def _print(measured: list[Measured], report: dict[str, Any]) -> None:
    streams = int(report["options"]["streams"])
    print(f"\n{'':22}" + "".join(f"{one.name:>12}" for one in measured))
    rows: list[tuple[str, list[str]]] = [
        ("until Ready, s", [f"{sum(one.batches):.1f}" for one in measured]),
        ("÷ bare", [f"{report[one.name]['ratio']:.2f}" for one in measured]),
        ("CPU, ms an object", [f"{1000 * sum(one.cpu) / streams:.1f}" for one in measured]),
        ("AWS calls an object", [f"{sum(one.calls.values()) / streams:.1f}" for one in measured]),
        ("AWS, s (all threads)", [f"{one.aws_seconds:.0f}" for one in measured]),
        ("memory at 0, MB", [f"{one.memory[0]:.0f}" for one in measured]),
        (f"memory at {streams}, MB", [f"{one.memory[streams]:.0f}" for one in measured]),
        ("idle: % of a core", [f"{100 * one.idle['core']:.2f}" for one in measured]),
        (
            "  of it bare calls",
            [f"{100 * one.idle.get('core_of_bare_calls', 0):.2f}" for one in measured],
        ),
        (
            "AWS calls a resync",
            [f"{one.idle.get('calls_an_object_and_resync', 0):.1f}" for one in measured],
        ),
        ("idle: memory, MB", [f"{one.idle['memory']:.0f}" for one in measured]),
    ]
    for label, values in rows:
        print(f"{label:22}" + "".join(f"{value:>12}" for value in values))


if __name__ == "__main__":
    main()
