"""Signatures of requests by the Standard Webhooks scheme (standardwebhooks.com), symmetric: `v1`,
HMAC-SHA-256 over `webhook-id.webhook-timestamp.body`."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

_PREFIX = b"whsec_"
_LENGTHS = range(24, 65)  # bytes of a key, as the scheme has it


def signing_keys(text: bytes) -> list[bytes]:
    """Of a file with one key a line, each in base64, with `whsec_` before it or not. Raises ValueError
    without a part of what it read."""
    keys = [_key(line.strip()) for line in text.splitlines() if line.strip()]
    if not keys:
        raise ValueError("there is no key in it")
    return keys


def webhook_headers(
    keys: Sequence[bytes], message: str, body: bytes, seconds: int
) -> list[tuple[bytes, bytes]]:
    """Headers of one try. `message`: its stable key; `seconds`: since 1970, of this try. A signature by each
    of the keys, so that a target can change from one to the next."""
    # full stops part what is signed, so that an id has none
    identity, moment = message.replace(".", "_").encode(), str(seconds).encode()
    content = b".".join((identity, moment, body))
    signatures = [b"v1," + b64encode(hmac.digest(key, content, "sha256")) for key in keys]
    return [
        (b"webhook-id", identity),
        (b"webhook-timestamp", moment),
        (b"webhook-signature", b" ".join(signatures)),
    ]


def _key(line: bytes) -> bytes:
    try:
        key = b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if len(key) not in _LENGTHS:
        raise ValueError(f"a key has {len(key)} bytes; {_LENGTHS.start} to {_LENGTHS.stop - 1} are taken")
    return key
