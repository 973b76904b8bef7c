"""Jobs, pods and events of an API server in memory, as far as pik asks for them: labels select, a merge patch
reaches into a spec, a Job that is deleted in the foreground stays until its pods are gone. There is no
controller: a test says what became of a Job and of its pods."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kube.fake_api import FakeApi
from pik.cluster.api import MERGE_PATCH, Object
from pik.memory.system import ManualClock


class JobsApi(FakeApi):
    """`clock`: of what is made."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    async def get(self, path: str, **query: str) -> Object:
        page = await super().get(path, **query)
        if "items" in page:
            page["items"] = [item for item in page["items"] if _selected(item, query)]
        return page

    async def create(self, path: str, body: Object, **query: str) -> Object:
        stamped = deepcopy(body)
        stamped["metadata"]["creationTimestamp"] = self._now()
        return await super().create(path, stamped, **query)

    async def patch(self, path: str, body: Object, content_type: str = MERGE_PATCH, **query: str) -> Object:
        self._asked("PATCH", path)
        return self._store("MODIFIED", path, _merged(self._there(path, body.get("metadata", {})), body))

    async def delete(self, path: str, body: Object | None = None, **query: str) -> None:
        if (body or {}).get("propagationPolicy") != "Foreground":
            await super().delete(path, body, **query)
            return
        self._asked("DELETE", path)
        there = deepcopy(self._there(path, (body or {}).get("preconditions", {})))
        there["metadata"]["deletionTimestamp"] = self._now()
        self._store("MODIFIED", path, there)

    def jobs(self, namespace: str = "default") -> list[Object]:
        """Those that there are, also those that are being deleted."""
        root = f"/apis/batch/v1/namespaces/{namespace}/jobs/"
        return [deepcopy(body) for path, body in sorted(self.objects.items()) if path.startswith(root)]

    def job(self) -> Object:
        """The only one."""
        (job,) = self.jobs()
        return job

    def sweep(self) -> None:
        """Pods have stopped: what is being deleted goes, with its pods."""
        for job in self.jobs():
            if "deletionTimestamp" in job["metadata"]:
                del self.objects[self._at(job)]
        there = {job["metadata"]["uid"] for job in self.jobs()}
        for path, body in list(self.objects.items()):
            if "/pods/" in path and body["metadata"]["ownerReferences"][0]["uid"] not in there:
                del self.objects[path]

    def says(self, job: Object, **status: Any) -> None:
        """What its controller says of a Job."""
        self._store("MODIFIED", self._at(job), {**self.objects[self._at(job)], "status": status})

    def ended(self, job: Object, kind: str, reason: str = "", **status: Any) -> None:
        """`kind`: Complete or Failed."""
        condition = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "so it is",
            "lastTransitionTime": self._now(),
        }
        self.says(job, conditions=[condition], **status)

    def pod(self, job: Object, index: int | None = None, **status: Any) -> None:
        """Another pod of the Job."""
        meta = job["metadata"]
        name = f"{meta['name']}-{index or 0}-{self.version}"
        annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
        self.put(
            f"/api/v1/namespaces/{meta['namespace']}/pods/{name}",
            {
                "metadata": {
                    "name": name,
                    "namespace": meta["namespace"],
                    "labels": job["spec"]["template"]["metadata"]["labels"],
                    "annotations": annotations,
                    "creationTimestamp": self._now(),
                    "ownerReferences": [{"uid": meta["uid"], "controller": True}],
                },
                "status": status,
            },
        )

    def failed_pod(
        self, job: Object, index: int | None, code: int | None, message: str = "", reason: str = "Error"
    ) -> None:
        """One whose container ended so; `code` None: it was lost."""
        ended = (
            {} if code is None else {"terminated": {"exitCode": code, "reason": reason, "message": message}}
        )
        self.pod(job, index, phase="Failed", containerStatuses=[{"name": "worker", "state": ended}])

    def event(self, job: Object, message: str) -> None:
        meta = job["metadata"]
        self.put(
            f"/api/v1/namespaces/{meta['namespace']}/events/e{self.version}",
            {
                "metadata": {"name": f"e{self.version}", "namespace": meta["namespace"]},
                "involvedObject": {"uid": meta["uid"]},
                "reason": "FailedCreate",
                "message": message,
                "lastTimestamp": self._now(),
            },
        )

    def _at(self, job: Object) -> str:
        return f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs/{job['metadata']['name']}"

    def _now(self) -> str:
        return f"{self.clock.now().text[:19]}Z"


def _selected(item: Object, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
    fields = [pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair]
    return all(labels.get(name) == value for name, value in wanted) and all(
        _field(item, path) == value for path, value in fields
    )


def _field(item: Object, path: str) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value.get(name)
    return value


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
