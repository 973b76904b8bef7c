"""Asks operator and gateway, by their Services, whether they are ready: the arguments are their base URLs."""

import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit


def status(url: str, method: str, path: str) -> int:
    """The status of the answer, or 0 where there is none."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except OSError as error:
        print(f"{url}: {error}")
        return 0
    finally:
        connection.close()


def wrong(name: str, found: int, wanted: int) -> bool:
    print(f"{name}: {found}" + ("" if found == wanted else f", and it should be {wanted}"))
    return found != wanted


operator, *gateways = sys.argv[1:]
bad = [wrong("the operator's /readyz", status(operator, "GET", "/readyz"), 200)]
for gateway in gateways:
    bad.append(wrong("the gateway's /readyz", status(gateway, "GET", "/readyz"), 200))
    unknown = "/v1/streams/there-is/no-such-stream/events"
    bad.append(wrong("events for a stream that is not there", status(gateway, "POST", unknown), 404))
sys.exit(1 if any(bad) else 0)
