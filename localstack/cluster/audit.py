"""The API server's audit log: who asked for what, and how it was answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request that was answered. Empty text: not said."""

    user: str  # the one that was acted as, where somebody acted as another
    groups: tuple[str, ...]
    verb: str  # RBAC's: get, list, watch, create, update, patch, delete, deletecollection
    group: str  # API group
    resource: str
    subresource: str
    namespace: str
    name: str
    dry_run: bool
    allowed: bool  # by RBAC; an admission plugin may have refused it all the same
    code: int
    uri: str
    user_agent: str


def read(path: Path, offset: int = 0) -> Iterator[Request]:
    """Every request since `offset` bytes: take the file's size before what is to be looked at. A watch is
    there twice, when it begins and when it ends."""
    with path.open("rb") as log:
        log.seek(offset)
        for line in log:
            if line.endswith(b"\n"):  # else it is being written
                yield _request(json.loads(line))


def _request(event: dict[str, object]) -> Request:
    def at(*path: str, default: object = "") -> object:
        value: object = event
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value is None else value

    who = "impersonatedUser" if "impersonatedUser" in event else "user"
    groups = at(who, "groups", default=[])
    code = at("responseStatus", "code", default=0)
    uri = str(at("requestURI"))
    return Request(
        user=str(at(who, "username")),
        groups=tuple(map(str, groups)) if isinstance(groups, list) else (),
        verb=str(at("verb")),
        group=str(at("objectRef", "apiGroup")),
        resource=str(at("objectRef", "resource")),
        subresource=str(at("objectRef", "subresource")),
        namespace=str(at("objectRef", "namespace")),
        name=str(at("objectRef", "name")),
        allowed=at("annotations", "authorization.k8s.io/decision") == "allow",
        dry_run="All" in parse_qs(urlsplit(uri).query).get("dryRun", []),
        code=code if isinstance(code, int) else 0,
        uri=uri,
        user_agent=str(at("userAgent")),
    )
