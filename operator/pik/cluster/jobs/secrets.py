"""The Secret of a target, as files of a mounted volume: the API server is not asked for it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from pik.domain.errors import SecretUnusable
from pik.domain.instants import Instant
from pik.sinks.http import Authenticate, Headers
from pik.sinks.signing import signing_keys, webhook_headers

SECRETS = "/var/run/secrets/pik.dev/target"
"""Where the Secret is mounted."""


def authenticated_by(directory: Path, name: str) -> Authenticate:
    """Headers by the files as they are at each try: `token` as Bearer, or `username` and `password` as Basic;
    `signingKey` as a signature of the try. `name`: of the Secret, for messages. Raises `SecretUnusable`, also
    when it is called."""

    def headers(key: str, body: bytes, now: Instant) -> Headers:
        found: Headers = []
        authorization = _authorization(directory, name)
        if authorization is not None:
            found.append((b"Authorization", authorization.encode()))
        signing = _read(directory / "signingKey")
        if signing is not None:
            found += webhook_headers(_keys(signing, name), key, body, now.micros // 1_000_000)
        if not found:
            raise SecretUnusable(
                f"the Secret {name} that the target wants is not there, or has none of the keys token, "
                "username and password, and signingKey"
            )
        return found

    headers("", b"", Instant(0))
    return headers


def _authorization(directory: Path, name: str) -> str | None:
    token = _read(directory / "token")
    if token is not None:
        return f"Bearer {_visible(token, name, 'token')}"
    user, password = _read(directory / "username"), _read(directory / "password")
    if user is None and password is None:
        return None
    if user is None or password is None:
        raise SecretUnusable(f"the Secret {name} has only one of the keys username and password")
    return "Basic " + b64encode(user + b":" + password).decode()


def _keys(text: bytes, name: str) -> list[bytes]:
    try:
        return signing_keys(text)
    except ValueError as error:
        raise SecretUnusable(f"the key signingKey of the Secret {name} cannot be used: {error}") from error


def _read(path: Path) -> bytes | None:
    """Without the line end that editors and `echo` leave."""
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except FileNotFoundError:
        return None


def _visible(token: bytes, name: str, key: str) -> str:
    """A header's value has no other characters; what is wrong with a secret is told without a part of it."""
    if not token or any(not 0x21 <= byte <= 0x7E for byte in token):
        raise SecretUnusable(f"the key {key} of the Secret {name} is not a token of visible ASCII characters")
    return token.decode()
