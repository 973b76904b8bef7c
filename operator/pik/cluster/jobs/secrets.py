"""The Secret of a target, as files of a mounted volume: the API server is not asked for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from pik.domain.errors import SecretUnusable

SECRETS = "/var/run/secrets/pik.dev/target"
"""Where the Secret is mounted."""


def authorization_from(directory: Path, name: str) -> Callable[[], str]:
    """The value of an `Authorization` header, by the files as they are when it is called: `token` as Bearer,
    or `username` and `password` as Basic. `name`: of the Secret, for messages. Raises `SecretUnusable`, also
    when it is called."""

    def value() -> str:
        token = _read(directory / "token")
        if token is not None:
            return f"Bearer {_visible(token, name, 'token')}"
        user, password = _read(directory / "username"), _read(directory / "password")
        if user is None or password is None:
            raise SecretUnusable(
                f"the Secret {name} that the target wants is not there, or has neither the key token nor the "
                "keys username and password"
            )
        return "Basic " + b64encode(user + b":" + password).decode()

    value()
    return value


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
