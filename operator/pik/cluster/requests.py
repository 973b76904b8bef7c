"""Who the gateway's requests are observed by: metrics, the lines of its log, and whoever keeps its doors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

from pik.api.capture_stream import CaptureStream
from pik.cluster.logs import Subject, about
from pik.cluster.metrics.ingest import IngestMetrics, StreamName
from pik.controller.objects import ObjectKey
from pik.domain.errors import OwnershipConflict, PikError
from pik.domain.instants import Instant
from pik.execution.capture.answers import Answer
from pik.gateway.app import RequestRefused
from pik.gateway.callers import Forbidden, Unauthenticated
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_MICROS = 1_000_000
_SAID_AGAIN = 60.0  # seconds before the same is logged of a stream once more
_DIGITS = 12  # of the id of a request


class Requests:
    """`gateway.observing.GatewayObserver`. `doubt`: is told of a stream that turned out to be another's.
    Belongs to one event loop."""

    def __init__(
        self, metrics: IngestMetrics, clock: Clock, entropy: Entropy, doubt: Callable[[ObjectKey], None]
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._entropy = entropy
        self._doubt = doubt
        self._said: dict[tuple[ObjectKey, str], Instant] = {}

    @contextmanager
    def request(self) -> Iterator[_Request]:
        with ExitStack() as stack:
            yield _Request(self, self._metrics, self._clock, stack)

    def subject(self, key: ObjectKey) -> Subject:
        return Subject(key, self._entropy.hex(_DIGITS))

    def failed(self, key: ObjectKey, error: PikError) -> None:
        """What keeps a stream's events out is logged once a minute: an outage would fill the log."""
        if isinstance(error, OwnershipConflict):
            self._doubt(key)
        now, what = self._clock.now(), (key, type(error).__name__)
        last = self._said.get(what)
        if last is None or now.micros - last.micros > _SAID_AGAIN * _MICROS:
            self._said[what] = now
            log.warning("events are not taken: %s: %s", type(error).__name__, error)

    def gone(self, key: ObjectKey) -> None:
        self._metrics.gone((key.namespace, key.name))
        for what in [what for what in self._said if what[0] == key]:
            del self._said[what]


class _Request:
    def __init__(self, requests: Requests, metrics: IngestMetrics, clock: Clock, stack: ExitStack) -> None:
        self._requests = requests
        self._stack = stack
        self._metrics = metrics
        self._clock = clock
        self._began = clock.now()
        self._stream: StreamName | None = None
        self._subject: Subject | None = None

    def to(self, namespace: str, name: str) -> None:
        self._stream = (namespace, name)
        self._subject = self._requests.subject(ObjectKey(CaptureStream.KIND, namespace, name))
        self._stack.enter_context(about(self._subject))

    def took(self, size: int, answers: Sequence[Answer]) -> None:
        if self._stream is not None:
            self._metrics.took(self._stream, size, answers)

    def failed(self, error: PikError) -> None:
        producers = isinstance(error, RequestRefused | Unauthenticated | Forbidden)
        if self._subject is not None and not producers:
            self._requests.failed(self._subject.object, error)

    def answered(self, status: HTTPStatus) -> None:
        seconds = max(0, self._clock.now().micros - self._began.micros) / _MICROS
        self._metrics.answered(self._stream, status, seconds)
