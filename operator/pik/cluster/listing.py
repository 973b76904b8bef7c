"""Lists, paged to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pik.cluster.api import Api, Object

_PAGE = "500"  # objects an answer


class Listed(NamedTuple):
    objects: Sequence[Object]
    resource_version: str  # to watch from


async def list_all(api: Api, path: str, **query: str) -> Listed:
    """Every object of the path, as of one moment. Raises what `api` does, and `KubeExpired` where a list took
    so long that its moment was forgotten."""
    found: list[Object] = []
    page = await api.get(path, limit=_PAGE, **query)
    while True:
        # a list's items come without the kind that a single object has
        kind, version = page["kind"].removesuffix("List"), page["apiVersion"]
        found += [{"apiVersion": version, "kind": kind, **item} for item in page["items"]]
        more = page["metadata"].get("continue")
        if not more:
            return Listed(found, page["metadata"]["resourceVersion"])
        page = await api.get(path, limit=_PAGE, **query, **{"continue": more})
