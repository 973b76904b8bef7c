"""Asks by their Services whether operator and gateway are ready, and whether the gateway knows its streams.

Arguments: base URLs of the operator's health, and where there is a gateway, of its health and of its door.
What is not right is asked again for PIK_TEST_SECONDS (30): right after an install a Service may not lead to
its pods yet.
"""

import os
import ssl
import sys
import time
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

DEADLINE = time.monotonic() + float(os.environ.get("PIK_TEST_SECONDS", "30"))
UNKNOWN = "/v1/streams/there-is/no-such-stream/events"


def status(url: str, method: str, path: str) -> int:
    """The status of the answer, or 0 where there is none."""
    parts = urlsplit(url)
    if parts.scheme == "https":  # whoever issued its certificate is not what is tested
        context = ssl._create_unverified_context()  # noqa: S323
        connection: HTTPConnection = HTTPSConnection(parts.netloc, timeout=10, context=context)
    else:
        connection = HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except OSError as error:
        print(f"{url}: {error}")
        return 0
    finally:
        connection.close()


def right(what: str, wanted: int, url: str, method: str, path: str) -> bool:
    while (found := status(url, method, path)) != wanted and time.monotonic() < DEADLINE:
        time.sleep(0.5)
    print(f"{what}: {found}" + ("" if found == wanted else f", and it should be {wanted}"))
    return found == wanted


operator, *gateway = sys.argv[1:]
checks = [right("the operator is ready", 200, operator, "GET", "/readyz")]
if gateway:
    health, door = gateway
    checks.append(right("the gateway is ready", 200, health, "GET", "/readyz"))
    checks.append(right("events for a stream that is not there", 404, door, "POST", UNKNOWN))
sys.exit(not all(checks))
