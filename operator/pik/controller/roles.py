"""Which IAM roles pik may assume, as the administrator says it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from pik.domain.errors import RoleNotAllowed, SourceNotAllowed
from pik.planning.roles import RoleGrant, RoleMap, UnreadableRoles, parse_roles

log = logging.getLogger(__name__)


class Roles(Protocol):
    def find(self, role: str, namespace: str) -> RoleGrant | None:
        """What says that a stream of the namespace may use the role. None: whoever works here works with its
        own rights, whatever the role. Raises `RoleNotAllowed`."""
        ...

    def check_function_role(self, role: str, namespace: str, reserved: int | None, *, open_url: bool) -> None:
        """Whether a function of a stream of the namespace may work with it, reserve so much of the account's
        concurrency, and have a URL for everybody. Raises `RoleNotAllowed`."""
        ...

    def check_source(self, address: str, namespace: str) -> None:
        """Whether a stream of the namespace may read it by pik's own rights. Raises `SourceNotAllowed`."""
        ...


class NoRoles:
    """An installation without a map, as local mode is."""

    def find(self, role: str, namespace: str) -> RoleGrant:  # noqa: ARG002
        raise RoleNotAllowed(f"no role is assumed here, and so not {role}: there is no map of roles")

    def check_function_role(self, role: str, namespace: str, reserved: int | None, *, open_url: bool) -> None:  # noqa: ARG002
        raise RoleNotAllowed(f"no function gets a role here, and so not {role}: there is no map of roles")

    def check_source(self, address: str, namespace: str) -> None:  # noqa: ARG002
        raise SourceNotAllowed(f"{address} is not read here: there is no map of roles")


class LocalRights(NoRoles):
    """Of local mode: no role is assumed, and whoever runs it gives functions and sources what he can."""

    def check_function_role(
        self, role: str, namespace: str, reserved: int | None, *, open_url: bool
    ) -> None: ...

    def check_source(self, address: str, namespace: str) -> None: ...


class OwnRights(LocalRights):
    """For a person at a command line, who reads a stream with what he may do himself."""

    def find(self, role: str, namespace: str) -> None:  # type: ignore[override]  # noqa: ARG002
        return None


class RoleFile:
    """A mounted file that is read again when it has changed. While it is unreadable, what it said before
    holds."""

    def __init__(self, path: Path) -> None:
        """Raises `UnreadableRoles`."""
        self._path = path
        self._seen = self._state()
        self._roles = self._read()

    def find(self, role: str, namespace: str) -> RoleGrant:
        self._refresh()
        return self._roles.find(role, namespace)

    def check_function_role(self, role: str, namespace: str, reserved: int | None, *, open_url: bool) -> None:
        self._refresh()
        self._roles.check_function_role(role, namespace, reserved, open_url=open_url)

    def check_source(self, address: str, namespace: str) -> None:
        self._refresh()
        self._roles.check_source(address, namespace)

    def _refresh(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._roles = self._read()
        except UnreadableRoles as error:
            log.error("the map of roles stays as it was: %s", error)  # noqa: TRY400 - it says where
        else:
            log.info("the map of roles has changed: %d roles", len(self._roles.roles))

    def _read(self) -> RoleMap:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableRoles(f"{self._path}: {error}") from error
        return parse_roles(text, str(self._path))

    def _state(self) -> tuple[int, int, int] | None:
        """Changes with the file, also where a ConfigMap's link is turned to another one."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
