"""The Jobs of pik's objects, and their pods, over an API server: what `decide` decides is done here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeConflict, KubeNotFound
from pik.cluster.jobs.decide import Action, Create, Remove, Resize, Resume, Suspend, decide, halts
from pik.cluster.jobs.manifests import OUT_OF_MEMORY, Wanted, job_manifest, selector_of
from pik.cluster.jobs.seen import Job, JobState, Pod, job_of, newest, pod_of
from pik.cluster.listing import list_all
from pik.cluster.paths import events, jobs, pods
from pik.controller.objects import ObjectKey
from pik.domain.instants import Instant

_MANAGER = "pik-operator"  # of fields
_SETTLES = 2.0  # seconds that a controller may take to make the first pod


class Kind(StrEnum):
    """What a trouble is."""

    UNMADE = "no pod can be made"
    STUCK = "a pod cannot start"
    FAILED = "a pod has failed, and is tried again"
    UNSCHEDULED = "a pod has no node yet"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why pods do not do their work at present. `pod`: None where there is none."""

    kind: Kind
    why: str
    pod: Pod | None = None

    def __str__(self) -> str:
        if self.pod is None:
            return f"{self.kind}: {self.why}"
        if self.kind is Kind.FAILED and self.pod.index is not None:
            return f"shard {self.pod.index}: {self.why}"
        waits = "waits for a node" if self.kind is Kind.UNSCHEDULED else "cannot start"
        what = f"pod {self.pod.name}"
        return f"{what}: {self.why}" if self.kind is Kind.FAILED else f"{what} {waits}: {self.why}"


class Children:
    """Finds the Jobs anew each time, so that nothing hangs on what this process knows of them. Belongs to one
    event loop."""

    def __init__(self, api: Api, ttl: int) -> None:
        """`ttl`: seconds that a Job stays whose outcome is on record."""
        self._api = api
        self._ttl = ttl
        self._attempts: defaultdict[ObjectKey, int] = defaultdict(int)  # the highest that was seen

    async def of(self, key: ObjectKey) -> list[Job]:
        """All Jobs of an object, whichever object of this name they were made for."""
        listed = await list_all(self._api, jobs(key.namespace), labelSelector=selector_of(key))
        found = [job for job in map(job_of, listed.objects) if job.object == key.name]
        self._attempts[key] = max([self._attempts[key], *(job.attempt for job in found)])
        return found

    async def ensure(self, wanted: Wanted) -> Action:
        """Does the next thing that brings the Jobs to what is wanted, and says what it was. Raises what `Api`
        does."""
        action = decide(await self.of(wanted.key), wanted)
        match action:
            case Create():
                await self.create(wanted)
            case Remove(gone):
                for job in gone:
                    await self._delete(wanted.key, job)
            case Resume(job):
                await self._set(wanted.key, job, suspend=False)
            case Resize(job, parallelism):
                await self._set(wanted.key, job, parallelism=parallelism)
            case _:
                pass
        return action

    async def create(self, wanted: Wanted) -> None:
        """The next attempt. Raises what `Api` does."""
        self._attempts[wanted.key] += 1
        manifest = job_manifest(wanted, self._attempts[wanted.key])
        with suppress(KubeConflict):  # one of this name is there: the next look finds it, or takes the next
            await self._api.create(jobs(wanted.key.namespace), manifest, fieldManager=_MANAGER)

    async def hold(self, key: ObjectKey) -> None:
        """No Job of the object works, until one is ensured again; pods are told to stop. Raises what `Api`
        does."""
        for action in halts(await self.of(key)):
            match action:
                case Suspend(job):
                    await self._set(key, job, suspend=True)
                case Remove(gone):
                    for job in gone:
                        await self._delete(key, job)

    async def remove(self, key: ObjectKey) -> None:
        """Every Job of the object; pods are told to stop."""
        for job in await self.of(key):
            if not job.deleting:
                await self._delete(key, job)
        self._attempts.pop(key, None)

    async def release(self, key: ObjectKey) -> None:
        """The outcome is on record: a Job that has ended, or ends by itself, may then go after a while; one
        that does not go on goes now."""
        for job in await self.of(key):
            if job.deleting:
                continue
            if job.state is JobState.ACTIVE and job.suspended:
                await self._delete(key, job)
            elif job.ttl is None:
                await self._set(key, job, ttlSecondsAfterFinished=self._ttl)
        self._attempts.pop(key, None)

    async def note_out_of_memory(self, key: ObjectKey, job: Job) -> None:
        """On the Job, which stays for as long as its object wants it."""
        body: Object = {"metadata": {"uid": job.uid, "annotations": {OUT_OF_MEMORY: "true"}}}
        await self._patch(key, job, body)

    async def pods(self, key: ObjectKey, job: Job) -> list[Pod]:
        """The Job's pods that there are, also those that others came after."""
        listed = await list_all(self._api, pods(key.namespace), labelSelector=selector_of(key))
        return [pod for pod in map(pod_of, listed.objects) if pod.job == job.uid]

    async def troubles(self, key: ObjectKey, job: Job, of: Sequence[Pod], now: Instant) -> list[Trouble]:
        """What keeps the Job's pods, which are these, from working; the worst first."""
        there = newest(of)
        found = [Trouble(Kind.STUCK, pod.stuck, pod) for pod in there if pod.stuck is not None]
        found += [Trouble(Kind.FAILED, pod.why(), pod) for pod in there if pod.failed]
        found += [Trouble(Kind.UNSCHEDULED, pod.unscheduled, pod) for pod in there if pod.unscheduled]
        since = (now.micros - job.created.micros) / 1_000_000
        if not there and job.active == 0 and since > _SETTLES:
            refused = await self._refusal(key, job)
            found += [] if refused is None else [Trouble(Kind.UNMADE, refused)]
        return found

    async def _refusal(self, key: ObjectKey, job: Job) -> str | None:
        """Why no pod could be made, by what the Job's controller told last."""
        selector = f"involvedObject.uid={job.uid},reason=FailedCreate"
        listed = await list_all(self._api, events(key.namespace), fieldSelector=selector)
        told = sorted(listed.objects, key=lambda event: event.get("lastTimestamp") or "")
        return str(told[-1]["message"]) if told else None

    async def _set(self, key: ObjectKey, job: Job, **fields: Any) -> None:
        await self._patch(key, job, {"metadata": {"uid": job.uid}, "spec": fields})

    async def _patch(self, key: ObjectKey, job: Job, body: Object) -> None:
        with suppress(KubeNotFound, KubeConflict):  # it is gone, or another one: the next look tells
            await self._api.patch(f"{jobs(key.namespace)}/{job.name}", body, fieldManager=_MANAGER)

    async def _delete(self, key: ObjectKey, job: Job) -> None:
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": job.uid},
        }
        with suppress(KubeNotFound, KubeConflict):
            await self._api.delete(f"{jobs(key.namespace)}/{job.name}", options)
