"""An HTTP endpoint that takes whatever comes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TAKEN = [(b"content-length", b"0")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: 200 to every request, once its body is there."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _TAKEN})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def receiving() -> Iterator[str]:
    """The URL of an endpoint on this machine."""
    served = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        if served.stdout is None:
            raise RuntimeError("it was started with a pipe")
        yield f"http://127.0.0.1:{served.stdout.readline().strip()}/"
    finally:
        served.terminate()
        served.wait(10)


def main() -> None:
    import socket

    import uvicorn

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
