"""What goes over the wire between pik and the emulator, noted on the way. Whose a request is, its credentials
tell: those that STS gave are the role's; others are whoever's door it comes by."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

_KEY = re.compile(r"Credential=([^/]+)/")
_GIVEN = re.compile(rb"<AccessKeyId>([^<]+)</AccessKeyId>")
_KEPT = 4_096  # bytes of an answer
_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "te", "trailer", "upgrade"}


@dataclass(frozen=True, slots=True)
class Request:
    """`who`: whose rights count. `path`: with its query, as it was sent. Names of headers in lower case.
    `status`: of the answer; `denied`: it says that the caller's rights do not do."""

    who: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    denied: bool
    answer: bytes


@dataclass
class Wire:
    """Forwards what comes to its doors, as it is, and keeps it. `before`: called with each request's caller
    and headers before it goes on, in the connection's own thread."""

    upstream: str
    requests: list[Request] = field(default_factory=list)
    before: Callable[[str, dict[str, str]], None] = lambda *_: None
    _roles: dict[str, str] = field(default_factory=dict)  # by access key
    _doors: list[tuple[ThreadingHTTPServer, threading.Thread]] = field(default_factory=list)

    def door(self, who: str) -> str:
        """An endpoint for this caller alone."""
        ours: dict[str, object] = {"wire": self, "who": who, "upstream": urlsplit(self.upstream).netloc}
        ours |= {f"do_{method}": _Door.forward for method in ("GET", "PUT", "POST", "DELETE", "HEAD")}
        handler = type("Door", (_Door,), ours)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self._doors.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    def caller(self, door: str, headers: dict[str, str]) -> str:
        key = _KEY.search(headers.get("authorization", ""))
        return self._roles.get(key[1] if key else "", door)

    def noted(self, request: Request, answer: bytes) -> None:
        self.requests.append(request)
        given = _GIVEN.search(answer) if b"Action=AssumeRole" in request.body else None
        if given is not None:
            role = parse_qs(request.body.decode())["RoleArn"][0]
            self._roles[given[1].decode()] = role.rpartition("/")[2]

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server, thread in self._doors:
            server.shutdown()
            thread.join()
            server.server_close()


class _Door(BaseHTTPRequestHandler):
    """One connection. The Host goes on as it came, since it is signed."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wire: Wire
    who: str
    upstream: str

    def setup(self) -> None:
        super().setup()
        self._there = http.client.HTTPConnection(self.upstream, timeout=60)

    def finish(self) -> None:
        self._there.close()
        super().finish()

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        who = self.wire.caller(self.who, headers)
        self.wire.before(who, headers)
        sent = {name: value for name, value in headers.items() if name not in _HOP | {"expect"}}
        self._there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**sent, "content-length": str(len(body))}.items():
            self._there.putheader(name, value)
        self._there.endheaders(body)
        answer = self._there.getresponse()
        told = answer.read()
        denied, head = b"AccessDenied" in told, told[:_KEPT]
        request = Request(who, self.command, self.path, headers, body, answer.status, denied, head)
        self.wire.noted(request, told)
        self.send_response_only(answer.status)
        kept = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(told))
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", kept)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    def log_message(self, *_: object) -> None: ...
