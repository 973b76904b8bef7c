"""An API server's manners, in memory: versions, conflicts, pages and watches. For units; what crosses the
wire is tested on a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from typing import Any

from pik.cluster.api import MERGE_PATCH, Object
from pik.cluster.errors import KubeConflict, KubeError, KubeExpired, KubeNotFound


class FakeApi:
    """Objects by path. `fault`: asked before each call; an error that it returns is raised. `calls`: what was
    asked, as `METHOD path`."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 100
        self.calls: list[str] = []
        self.fault: Callable[[str], KubeError | None] = lambda _: None
        self.oldest = 0  # a watch from before is refused
        self.history: list[tuple[int, str, str, Object]] = []
        self._changed = asyncio.Event()

    async def get(self, path: str, **query: str) -> Object:
        self._asked("GET", path)
        if path in self.objects:
            return deepcopy(self.objects[path])
        found = [body for at, body in sorted(self.objects.items()) if at.rpartition("/")[0] == path]
        if not found and not path.endswith("s"):
            raise KubeNotFound(path)
        start, size = int(query.get("continue", "0")), int(query.get("limit", "500"))
        page = found[start : start + size]
        more = str(start + size) if start + size < len(found) else ""
        return {
            "apiVersion": "v1",
            "kind": "ThingList",
            "metadata": {"resourceVersion": str(self.version), "continue": more},
            "items": [{k: v for k, v in body.items() if k not in ("apiVersion", "kind")} for body in page],
        }

    async def create(self, path: str, body: Object, **query: str) -> Object:
        self._asked("POST", path)
        at = f"{path}/{body['metadata']['name']}"
        if at in self.objects:
            raise KubeConflict(f"{at} is there")
        return self._store(
            "ADDED", at, {**body, "metadata": {"uid": f"uid-{self.version}", **body["metadata"]}}
        )

    async def replace(self, path: str, body: Object, **query: str) -> Object:
        self._asked("PUT", path)
        at = path.removesuffix("/status")
        there = self._there(at, body["metadata"])
        new = {**there, "status": body["status"]} if path.endswith("/status") else body
        return self._store("MODIFIED", at, {**new, "metadata": dict(there["metadata"])})

    async def patch(self, path: str, body: Object, content_type: str = MERGE_PATCH, **query: str) -> Object:
        self._asked("PATCH", path)
        there = self._there(path, body.get("metadata", {}))
        merged = {**there, **body, "metadata": {**there["metadata"], **body.get("metadata", {})}}
        return self._store("MODIFIED", path, merged)

    async def delete(self, path: str, body: Object | None = None, **query: str) -> None:
        self._asked("DELETE", path)
        there = self._there(path, (body or {}).get("preconditions", {}))
        del self.objects[path]
        self.version += 1
        self._happened("DELETED", path, there)

    async def watch(self, path: str, resource_version: str, **query: str) -> AsyncIterator[Object]:
        self._asked("WATCH", path)
        if int(resource_version) < self.oldest:
            raise KubeExpired(f"{resource_version} is too old")
        seen = int(resource_version)
        while True:
            self._asked("WATCHING", path)
            for version, kind, at, body in [*self.history]:
                if version > seen and at.rpartition("/")[0] == path:
                    seen = version
                    yield {"type": kind, "object": deepcopy(body)}
            self._changed.clear()
            await self._changed.wait()

    def put(self, path: str, body: Object) -> Object:
        """Somebody else makes the object or changes it; no watch tells of it."""
        self.version += 1
        meta: dict[str, Any] = {"uid": f"uid-{path}", **body.get("metadata", {})}
        stored = {**body, "metadata": {**meta, "resourceVersion": str(self.version)}}
        self.objects[path] = stored
        return deepcopy(stored)

    def wake(self) -> None:
        """Watches look up: at a fault, say."""
        self._changed.set()

    def _there(self, path: str, wanted: Object) -> Object:
        there = self.objects.get(path)
        if there is None:
            raise KubeNotFound(path)
        for field in ("resourceVersion", "uid"):
            if wanted.get(field, there["metadata"][field]) != there["metadata"][field]:
                raise KubeConflict(f"{field} of {path} is another")
        return there

    def _store(self, kind: str, path: str, body: Object) -> Object:
        self.version += 1
        stored = deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = stored
        self._happened(kind, path, stored)
        return deepcopy(stored)

    def _happened(self, kind: str, path: str, body: Object) -> None:
        self.history.append((self.version, kind, path, deepcopy(body)))
        self._changed.set()

    def _asked(self, method: str, path: str) -> None:
        self.calls.append(f"{method} {path}")
        if (error := self.fault(f"{method} {path}")) is not None:
            raise error
