"""What `helm test` runs says whether both processes are ready."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chart.rendering import CHART, Renderer, named

pytestmark = pytest.mark.loopback

SCRIPT = CHART / "files" / "test.py"
UNKNOWN = "/v1/streams/there-is/no-such-stream/events"


@contextmanager
def answering(answers: dict[tuple[str, str], int]) -> Iterator[str]:
    """A server that answers so, and 500 to anything else. Yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.get((self.command, self.path), 500))
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(*urls: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *urls],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PIK_TEST_SECONDS": str(seconds)},
    )


@pytest.mark.parametrize(
    ("operator", "gateway", "door", "succeeds"),
    [(200, 200, 404, True), (503, 200, 404, False), (200, 503, 404, False), (200, 200, 200, False)],
)
def test_it_succeeds_where_all_is_well_and_only_there(
    operator: int, gateway: int, door: int, succeeds: bool
) -> None:
    with (
        answering({("GET", "/readyz"): operator}) as first,
        answering({("GET", "/readyz"): gateway}) as second,
        answering({("POST", UNKNOWN): door}) as third,
    ):
        done = ask(first, second, third)
    assert (done.returncode == 0) == succeeds, done.stdout
    assert ("and it should be" in done.stdout) != succeeds


def test_what_is_not_ready_yet_is_asked_again() -> None:
    answers = {("GET", "/readyz"): 503}
    with answering(answers) as operator:
        later = threading.Timer(1.0, answers.update, [{("GET", "/readyz"): 200}])
        later.start()
        done = ask(operator, seconds=30)
        later.join()
    assert done.returncode == 0, done.stdout


def test_nobody_there_is_not_well() -> None:
    done = ask("http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_pod_asks_the_processes_that_there_are(render: Renderer) -> None:
    def urls(values: str) -> list[str]:
        (container,) = named(render(values, namespace="here"), "Pod", "pik-test")["spec"]["containers"]
        script, *given = container["args"]
        compile(script, "test", "exec")
        return list(given)

    assert urls("least") == [
        "http://pik-operator.here.svc:8080",
        "http://pik-gateway-metrics.here.svc:8080",
        "http://pik-gateway.here.svc",
    ]
    assert urls("in-process") == ["http://pik-operator.here.svc:8080"]
