"""An HTTP target on this machine: what it has got is what was sent, whatever the sender believes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(frozen=True)
class Received:
    """One request, whether it was answered or not."""

    id: str
    subject: str
    time: str
    key: str
    authorization: str | None
    headers: dict[str, str] = field(default_factory=dict, compare=False)  # names in small letters
    body: bytes = field(default=b"", compare=False)


@dataclass
class Receiver:
    """`answer`: the status for a request; it may take its time. `received`: in order of arrival."""

    answer: Callable[[Received], int] = lambda _: 202
    received: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = orjson.loads(raw)
                got = Received(
                    body["id"],
                    body["subject"],
                    body["time"],
                    self.headers["Idempotency-Key"],
                    self.headers.get("Authorization"),
                    {name.lower(): value for name, value in self.headers.items()},
                    raw,
                )
                with receiver.arrived:
                    receiver.received.append(got)
                    receiver.arrived.notify_all()
                self.send_response(receiver.answer(got))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return  # the sender is dead

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def until(self, count: int, seconds: float = 60.0) -> None:
        """Waits until so many requests have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, seconds), len(self.received)
