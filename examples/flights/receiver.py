"""A dashboard's endpoint for the demo: takes CloudEvents over HTTP and writes down each as it comes.

    python receiver.py FILE [PORT [HOST]]      (prints its port; 0 takes a free one)

FILE `-` is stdout, where no port is printed then. HOST is 127.0.0.1; in a pod it has to be 0.0.0.0.

One line of JSON per request: the id, the run, the subject and time, and the body's SHA-256.
"""

from __future__ import annotations

import json
import sys
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TextIO


def server(log: TextIO, port: int, host: str) -> ThreadingHTTPServer:
    """A server that logs what it receives, in order."""
    lock = threading.Lock()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            event = json.loads(body)
            line = {
                "key": self.headers.get("Idempotency-Key"),
                "id": event["id"],
                "run": event.get("pikrun"),
                "entity": event.get("subject"),
                "time": event["time"],
                "data_sha256": sha256(json.dumps(event["data"], sort_keys=True).encode()).hexdigest(),
            }
            with lock:
                log.write(json.dumps(line) + "\n")
                log.flush()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer((host, port), Receiver)


def main(file: str, port: str = "0", host: str = "127.0.0.1") -> None:
    if file == "-":
        server(sys.stdout, int(port), host).serve_forever()
    with Path(file).open("a", encoding="utf-8") as log:
        http = server(log, int(port), host)
        print(http.server_address[1], flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
