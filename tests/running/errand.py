"""All that an operator has rights for, done once: the life of a stream, a replay and an aggregate, by steps.
The kubelet's part is played: a worker runs beside the test, and its pod says what a kubelet would."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pik.cluster.api import Object
from pik.cluster.errors import KubeNotFound
from pik.cluster.paths import events, jobs, leases, pods
from running.scene import Scene
from running.specs import EVENTS, is_true, job_spec, stream_spec, version_spec

_PIK = Path(sys.executable).with_name("pik")
_LOOK_UP = 0.2


class Broken(AssertionError):
    """A step did not come about; the text names it."""


class Errand:
    """`patience`: seconds for a step."""

    def __init__(self, scene: Scene, patience: float) -> None:
        self._scene = scene
        self._patience = patience

    async def run(self) -> None:
        """Raises `Broken`."""
        scene = self._scene
        await self._until("a replica leads", self._leads)
        await scene.create("CaptureStream", "things", stream_spec("things", "Delete"))
        await self._until("the stream is Ready", self._is("CaptureStream", "things", "Ready"))
        await self._until("the stream is held", self._held)
        await self._suspend_twice()
        await self._until("the same event is counted", self._counted)
        await scene.ingest("things", EVENTS)
        nobody = {"execution": {"serviceAccountName": "nobody"}}  # so that its Job has no pod
        await scene.create("AggregateVersion", "total", {**version_spec("things"), **nobody})
        await self._until("the aggregate has a Job", lambda: self._has_job("total"))
        await self._until("why it has no pod is said", self._explained)
        await self._replay()
        await self._queued_replay()
        await self._approved_replay()
        await self._until("the lease is renewed", self._renewed)
        await scene.remove("CaptureStream", "things")
        await self._until("the stream is gone", self._gone("CaptureStream", "things"))

    async def _suspend_twice(self) -> None:
        for held in (True, False, True, False):
            await self._scene.merge("CaptureStream", "things", {"spec": {"suspend": held}})

            async def told(held: bool = held) -> bool:
                there = await self._scene.get("CaptureStream", "things")
                seen = there["status"].get("observedGeneration") == there["metadata"]["generation"]
                return seen and is_true(there, "Ready") is not held

            await self._until("a suspended stream says so", told)

    async def _replay(self) -> None:
        scene = self._scene
        queue = scene.queue("sent")
        await scene.create("ReplayJob", "again", job_spec("things", queue))
        await self._until("the replay has a Job", lambda: self._has_job("again"))
        await scene.merge("ReplayJob", "again", {"spec": {"suspend": True}})
        await self._until("the Job is suspended", lambda: self._job_is("again", suspended=True))
        await scene.merge("ReplayJob", "again", {"spec": {"suspend": False}})
        await self._until("the Job goes on", lambda: self._job_is("again", suspended=False))
        before = (await self._job("again"))["metadata"]["uid"]
        await scene.merge("ReplayJob", "again", {"spec": {"pace": {"eventsPerSecond": 1000}}})

        async def anew() -> bool:
            there = await self._job("again")
            return there.get("metadata", {}).get("uid", before) != before

        await self._until("another pace has another Job", anew)
        await self._work()
        await self._until("the replay is Complete", self._is("ReplayJob", "again", "Complete"))
        await scene.merge("ReplayJob", "again", {"spec": {"ttlSecondsAfterFinished": 0}})
        await self._until("the replay is gone", self._gone("ReplayJob", "again"))

    async def _queued_replay(self) -> None:
        """A queue system holds the Job and lets it go: noticed before it would be looked at again."""
        scene = self._scene
        queue = {"kueue.x-k8s.io/queue-name": "everybody"}
        await scene.create("ReplayJob", "queued", job_spec("things", scene.queue("queued")), labels=queue)
        await self._until("the Job is held", lambda: self._job_is("queued", suspended=True))
        await self._until("that it is held is said", lambda: self._says("queued", "Queued"))
        job = (await self._job("queued"))["metadata"]["name"]
        await scene.api.patch(f"{jobs(scene.namespace)}/{job}", {"spec": {"suspend": False}})
        await self._until("that it goes on is said", lambda: self._says("queued", "Running"))
        await scene.remove("ReplayJob", "queued")
        await self._until("the queued replay is gone", self._gone("ReplayJob", "queued"))

    async def _approved_replay(self) -> None:
        """Its approval counts, since the admission policy is at work."""
        scene = self._scene
        guarded = {"spec": {"replayPolicy": {"approval": "Required"}}}
        await scene.merge("CaptureStream", "things", guarded)
        await scene.create("ReplayJob", "asked", job_spec("things", scene.queue("asked")))
        await self._until("an approval is waited for", lambda: self._says("asked", "AwaitingApproval"))
        plan = (await scene.get("ReplayJob", "asked"))["status"]["plan"]["hash"]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        me = await scene.api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        approval = {"plan": plan, "by": me["status"]["userInfo"]["username"]}
        await scene.merge("ReplayJob", "asked", {"spec": {"approval": approval}})
        await self._until("what is approved has a Job", lambda: self._has_job("asked"))
        await scene.remove("ReplayJob", "asked")
        await self._until("the approved replay is gone", self._gone("ReplayJob", "asked"))

    async def _says(self, name: str, reason: str) -> bool:
        status = (await self._scene.get("ReplayJob", name)).get("status", {"conditions": []})
        return any(each["type"] == "Complete" and each["reason"] == reason for each in status["conditions"])

    async def _work(self) -> None:
        """The worker does what the pod would, and the pod says that it has."""
        pod: dict[str, Any] = {}

        async def there() -> bool:
            job = (await self._job("again"))["metadata"]["name"]
            found = await self._scene.api.get(
                pods(self._scene.namespace), labelSelector=f"batch.kubernetes.io/job-name={job}"
            )
            pod.update(found["items"][0] if found["items"] else {})
            return bool(pod)

        await self._until("the Job has a pod", there)
        (container,) = pod["spec"]["containers"]
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        environ = {
            **os.environ,
            **given,
            "AWS_ENDPOINT_URL": self._scene.endpoint,
            "JOB_COMPLETION_INDEX": "0",
        }
        worker = await asyncio.create_subprocess_exec(
            _PIK, "worker", env=environ, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        assert await worker.wait() == 0
        path = f"{pods(self._scene.namespace)}/{pod['metadata']['name']}/status"
        await self._scene.api.patch(path, {"status": {"phase": "Succeeded"}})

    # what is there

    async def _leads(self) -> bool:
        return bool((await self._lease()).get("holderIdentity"))

    async def _renewed(self) -> bool:
        held = await self._lease()
        return str(held["renewTime"]) > str(held["acquireTime"])

    async def _lease(self) -> Object:
        try:
            found = await self._scene.api.get(f"{leases(self._scene.namespace)}/pik-operator")
        except KubeNotFound:
            return {}
        spec: Object = found["spec"]
        return spec

    async def _explained(self) -> bool:
        """By the words of the Job's controller, and not of whoever may not read them."""
        status = (await self._scene.get("AggregateVersion", "total")).get("status", {"conditions": []})
        return any('serviceaccount "nobody" not found' in each["message"] for each in status["conditions"])

    async def _held(self) -> bool:
        return "finalizers" in (await self._scene.get("CaptureStream", "things"))["metadata"]

    async def _counted(self) -> bool:
        found = await self._scene.api.get(events(self._scene.namespace))
        return any(each["reason"] == "Provisioned" and each["count"] > 1 for each in found["items"])

    async def _job(self, name: str) -> Object:
        found = await self._scene.api.get(jobs(self._scene.namespace), labelSelector=f"pik.dev/name={name}")
        items: list[Object] = found["items"]
        return next((one for one in items if "deletionTimestamp" not in one["metadata"]), {})

    async def _has_job(self, name: str) -> bool:
        return bool(await self._job(name))

    async def _job_is(self, name: str, *, suspended: bool) -> bool:
        there = await self._job(name)
        return bool(there) and there["spec"].get("suspend", False) is suspended

    def _is(self, kind: str, name: str, condition: str) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return is_true(await self._scene.get(kind, name), condition)

        return holds

    def _gone(self, kind: str, name: str) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            try:
                await self._scene.get(kind, name)
            except KubeNotFound:
                return True
            return False

        return holds

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while not await holds():
            if loop.time() > deadline:
                raise Broken(what)
            await asyncio.sleep(_LOOK_UP)
