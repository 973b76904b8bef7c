"""In place of a node: what a kubelet does with the pods of a namespace, as far as Jobs can tell. A container
is a process of this machine, with the environment that its pod gives it; nothing confines it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pik.cluster.api import KubeApi, Object
from pik.cluster.errors import KubeConflict, KubeNotFound
from pik.cluster.paths import pods

_LOOK_UP = 0.2
_PIK = Path(sys.executable).with_name("pik")
_INDEX = "batch.kubernetes.io/job-completion-index"
_SIGNALS = 128  # an exit code above is of a signal


@dataclass
class Container:
    process: asyncio.subprocess.Process
    termination: Path
    told: bool = False


@dataclass
class Kubelet:
    """`instead`: asked of each new pod for the status that it is to have instead of being run. `started`: the
    pods that were run, by name, in order."""

    api: KubeApi
    namespace: str
    scratch: Path
    instead: Callable[[Object], Object | None] = lambda _: None
    started: dict[str, Container] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # pods of which all is said

    async def run(self) -> None:
        """Until cancelled; its containers are killed then."""
        node = {"metadata": {"name": self.namespace}}
        await self.api.create("/api/v1/nodes", node)
        try:
            while True:
                for pod in (await self.api.get(pods(self.namespace)))["items"]:
                    try:
                        await self._see_to(pod)
                    except (KubeNotFound, KubeConflict):
                        continue  # it has changed meanwhile
                await asyncio.sleep(_LOOK_UP)
        finally:
            for container in self.started.values():
                if container.process.returncode is None:
                    container.process.kill()
                    await container.process.wait()
            await self.api.delete(f"/api/v1/nodes/{self.namespace}")

    async def _see_to(self, pod: Object) -> None:
        name, going = pod["metadata"]["name"], "deletionTimestamp" in pod["metadata"]
        container = self.started.get(name)
        if not going and "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": self.namespace}
            body = {"metadata": {"name": name}, "target": target}
            await self.api.create(f"{pods(self.namespace)}/{name}/binding", body)
        if name in self.said or (container is None and going):
            if going:
                await self._gone(name)
        elif container is None:
            status = self.instead(pod)
            if status is None:
                await self._start(pod)
            else:
                await self._say(name, status)
                if status.get("phase") == "Failed":
                    self.said.append(name)
        elif container.process.returncode is not None:
            await self._say(name, _ended(container))
            self.said.append(name)
        elif going and not container.told:
            container.told = True
            container.process.terminate()

    async def _start(self, pod: Object) -> None:
        meta = pod["metadata"]
        (spec,) = pod["spec"]["containers"]
        home = self.scratch / meta["name"]
        home.mkdir()
        given = {each["name"]: each["value"] for each in spec["env"] if "value" in each}
        index = meta.get("annotations", {}).get(_INDEX)
        process = await asyncio.create_subprocess_exec(
            str(_PIK),
            *spec["args"],
            env={
                "PATH": os.environ["PATH"],
                **given,
                "TMPDIR": str(home),
                "PIK_SCRATCH": str(home),
                "PIK_TERMINATION_LOG": str(home / "termination"),
                **({} if index is None else {"JOB_COMPLETION_INDEX": index}),
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.started[meta["name"]] = Container(process, home / "termination")
        running = {"name": spec["name"], "ready": True, "started": True, "state": {"running": {}}}
        ready = [{"type": "Ready", "status": "True"}]
        await self._say(meta["name"], {"phase": "Running", "conditions": ready, **_container(running)})

    async def _say(self, name: str, status: Object) -> None:
        await self.api.patch(f"{pods(self.namespace)}/{name}/status", {"status": status})

    async def _gone(self, name: str) -> None:
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self.api.delete(f"{pods(self.namespace)}/{name}", options)


def failed(code: int, reason: str = "Error", message: str = "") -> Object:
    """The status of a pod whose container ended so."""
    ended = {"exitCode": code, "reason": reason, "message": message}
    return {
        "phase": "Failed",
        "conditions": [{"type": "Ready", "status": "False"}],
        **_container({"name": "worker", "ready": False, "state": {"terminated": ended}}),
    }


def lost() -> Object:
    """The status of a pod whose node is gone, once the cluster has given it up."""
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    return {"phase": "Failed", "reason": "NodeLost", "conditions": [disrupted]}


def stuck(reason: str, message: str) -> Object:
    """The status of a pod whose container cannot start."""
    waiting = {"reason": reason, "message": message}
    return {
        "phase": "Pending",
        **_container({"name": "worker", "ready": False, "state": {"waiting": waiting}}),
    }


def _ended(container: Container) -> Object:
    code = container.process.returncode or 0
    code = code if code >= 0 else _SIGNALS - code
    said = container.termination.read_text() if container.termination.exists() else ""
    if code:
        return failed(code, message=said)
    ended = {"exitCode": 0, "reason": "Completed", "message": said}
    return {"phase": "Succeeded", **_container({"name": "worker", "state": {"terminated": ended}})}


def _container(status: Object) -> Object:
    full = {"image": "", "imageID": "", "ready": False, "restartCount": 0, **status}
    return {"containerStatuses": [full]}
