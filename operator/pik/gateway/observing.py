"""Who is told what the gateway answers: metrics and logs in a cluster, nobody in local mode. None of these
methods raises, and none takes long."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Protocol

from pik.domain.errors import PikError
from pik.execution.capture.answers import Answer


class RequestObserver(Protocol):
    """One request for events."""

    def to(self, namespace: str, name: str) -> None:
        """It is for this stream, which there is."""
        ...

    def took(self, size: int, answers: Sequence[Answer]) -> None:
        """Its body of so many bytes was read, and its events were answered."""
        ...

    def failed(self, error: PikError) -> None: ...

    def answered(self, status: HTTPStatus) -> None: ...


class GatewayObserver(Protocol):
    def request(self) -> AbstractContextManager[RequestObserver]:
        """Is entered for all that is done about one request."""
        ...


class Nobody:
    """Both of these, for whom nothing is kept."""

    def request(self) -> AbstractContextManager[Nobody]:
        return nullcontext(self)

    def to(self, namespace: str, name: str) -> None: ...

    def took(self, size: int, answers: Sequence[Answer]) -> None: ...

    def failed(self, error: PikError) -> None: ...

    def answered(self, status: HTTPStatus) -> None: ...
