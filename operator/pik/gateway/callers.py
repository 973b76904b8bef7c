"""Who may send events to a stream."""

from __future__ import annotations

from typing import Protocol

from pik.domain.errors import PikError


class Unauthenticated(PikError):
    """The request does not say who sends it, or not so that it can be believed."""


class Forbidden(PikError):
    """It is known who sends the request, and that one may not."""


class Admission(Protocol):
    """Decides for one stream, before anything of a request's body is read."""

    async def admit(self, authorization: bytes | None) -> None:
        """`authorization`: the header of that name. Raises `Unauthenticated`, `Forbidden`, and `Unavailable`
        or `Overloaded` where nobody can tell now."""
        ...
