"""kopf, thin: it watches pik's three kinds and says what it saw. Whatever follows is the work queue's.

Only `on.event` is used: no handler of kopf's patches an object, puts a finalizer on it, sleeps in a worker or
takes a lost change for a handled one. kopf gets a thread and an event loop of its own, since on its way out
it cancels every task of the loop that it runs in, and takes the process' signals where it can.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import kopf
from kubernetes.client import Configuration

from pik.api.common import GROUP, VERSION
from pik.api.kinds import KINDS
from pik.cluster.api import Object
from pik.domain.errors import PikError

log = logging.getLogger(__name__)

Tell = Callable[[str | None, Object], None]
"""A watch event's type (None: of the first list) and object."""

_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 34, *(60 for _ in range(10_000)))  # seconds: it does not give up
_STOP_SECONDS = 5.0


class WatchEnded(PikError):
    """kopf ended by itself; the text says why."""


def registry(configuration: Configuration, tell: Tell) -> kopf.OperatorRegistry:
    """What kopf does: it logs in, and tells."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return _connection(configuration)

    def on_event(type: str | None, event: kopf.RawEvent, **_: Any) -> None:  # noqa: A002 - kopf's name
        tell(type, dict(event["object"]))

    for model in KINDS.values():
        kopf.on.event(GROUP, VERSION, model.PLURAL, registry=found)(on_event)
    return found


def settings() -> kopf.OperatorSettings:
    """kopf without what this process has better elsewhere, or may not do."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.scanning.disabled = True  # CRDs and namespaces are not watched: it needs no right to
    found.watching.chunk_size = 500
    found.networking.error_backoffs = _BACKOFFS
    found.queueing.idle_timeout = 1.0  # seconds that an object's own worker outlives its last event
    return found


class Watching:
    """kopf in its thread. `tell` is called in the loop that `run` runs in."""

    def __init__(self, configuration: Configuration, namespaces: Sequence[str], tell: Tell) -> None:
        """`namespaces`: empty watches all of them."""
        self._configuration = configuration
        self._namespaces = namespaces
        self._tell = tell
        self._stop = threading.Event()

    async def run(self) -> None:
        """Until cancelled. Raises `WatchEnded`."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(kind: str | None, given: Object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(self._tell, kind, given)

        def end(error: BaseException | None) -> None:
            if not ended.done():
                ended.set_exception(WatchEnded(f"kopf ended: {error!r}"))

        def work() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._kopf(tell))
            except Exception as failed:  # whatever it is, the loop that waits is told
                log.exception("kopf ended")
                error = failed
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, error)

        thread = threading.Thread(target=work, name="kopf", daemon=True)
        thread.start()
        try:
            await ended
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, _STOP_SECONDS)

    async def _kopf(self, tell: Tell) -> None:
        await kopf.operator(
            registry=registry(self._configuration, tell),
            settings=settings(),
            standalone=True,  # no peering: leadership is a Lease
            # its name among peers, of which there are none; else kopf asks for the user's: a pod's has none
            identity="pik",  # type: ignore[arg-type]
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )


def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same cluster and the same identity as `cluster.api` has."""
    held = configuration.auth_settings().get("BearerToken", {"value": ""})  # renewed where that is due
    scheme, _, token = str(held["value"]).partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme if token else None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
