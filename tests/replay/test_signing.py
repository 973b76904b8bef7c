"""Signed requests, before a server that looks at signatures and times by its own code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pik.cluster.jobs.secrets import authenticated_by
from pik.domain.errors import SecretUnusable
from pik.memory.system import ManualClock
from pik.ports.sinks import Batch, Delivery, Disposition
from pik.sinks.http import HTTPSink
from pik.sinks.signing import signing_keys, webhook_headers
from reading.streams import START
from replay.slices import event, messages
from replay.test_http_sink import server

TOLERANCE = 300  # seconds
OLD, NEW = b"o" * 24, b"n" * 64


def written(*keys: bytes) -> str:
    return "".join(f"whsec_{base64.b64encode(key).decode()}\n" for key in keys)


@dataclass
class Verifier:
    """Answers 204 to what one of its keys signed a moment ago, 401 to all else; the first so many with 503
    whatever they are."""

    clock: ManualClock
    keys: list[bytes]
    busy: int = 0
    taken: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode().split("\r\n")[1:])
        headers = {name.lower(): value.strip() for name, _, value in lines}
        self.heads.append(headers)
        status = "204 No Content" if self._is_valid(headers, body) else "401 Unauthorized"
        if status.startswith("204") and self.busy:
            self.busy -= 1
            status = "503 Service Unavailable"
        elif status.startswith("204"):
            self.taken.append(headers["webhook-id"])
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    def _is_valid(self, headers: dict[str, str], body: bytes) -> bool:
        identity, sent = headers["webhook-id"], headers["webhook-timestamp"]
        now = self.clock.now().micros // 1_000_000
        if abs(now - int(sent)) > TOLERANCE or "." in identity:
            return False
        signed = b"%b.%b.%b" % (identity.encode(), sent.encode(), body)
        wanted = {base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in self.keys}
        given = {word.partition(",")[2].encode() for word in headers["webhook-signature"].split(" ")}
        return bool(wanted & given)


async def tried(sink: HTTPSink, number: int = 1) -> Delivery:
    [delivery] = await sink.send(Batch("a" * 64, 0, 0, messages(event(number, data=b'{"n": 1.50}'))))
    return delivery


@pytest.mark.loopback
async def test_each_try_is_signed_anew_under_the_same_id(tmp_path: Path) -> None:
    clock = ManualClock(START)
    verifier = Verifier(clock, [OLD], busy=1)
    (tmp_path / "signingKey").write_text(written(OLD))
    async with server(verifier.handle) as url:
        sink = HTTPSink(url, clock, loopback=True, authenticate=authenticated_by(tmp_path, "hook"))
        assert (await tried(sink)).disposition is Disposition.RETRYABLE
        clock.advance(TOLERANCE + 1)  # what was signed for the first try is too old by now
        assert (await tried(sink)).disposition is Disposition.DELIVERED
        # the server does refuse what is older
        stale = authenticated_by(tmp_path, "hook")("k.1", b"x", clock.now())
        clock.advance(TOLERANCE + 1)
        assert not verifier._is_valid({name.decode(): value.decode() for name, value in stale}, b"x")
        await sink.close()
    first, second = verifier.heads
    assert first["webhook-id"] == second["webhook-id"] == first["idempotency-key"].replace(".", "_")
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert "authorization" not in first


@pytest.mark.loopback
async def test_a_key_that_changes_is_used_with_the_next_try(tmp_path: Path) -> None:
    clock = ManualClock(START)
    verifier = Verifier(clock, [NEW])
    (tmp_path / "signingKey").write_text(written(OLD))
    (tmp_path / "token").write_text("t0ken")
    async with server(verifier.handle) as url:
        sink = HTTPSink(url, clock, loopback=True, authenticate=authenticated_by(tmp_path, "hook"))
        assert (await tried(sink)).disposition is Disposition.REFUSED
        (tmp_path / "signingKey").write_text(written(OLD, NEW))  # while the target changes over
        assert (await tried(sink)).disposition is Disposition.DELIVERED
        (tmp_path / "signingKey").write_text(written(NEW))
        assert (await tried(sink)).disposition is Disposition.DELIVERED
        await sink.close()
    assert {head["authorization"] for head in verifier.heads} == {"Bearer t0ken"}


def test_the_schemes_own_example() -> None:
    """As published by the scheme (and by Svix, where it comes from)."""
    [key] = signing_keys(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = dict(
        webhook_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330)
    )
    assert headers[b"webhook-signature"] == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "\n", "whsec_###", written(b"short"), written(b"x" * 65)])
def test_what_is_no_key_is_told_without_a_part_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "signingKey").write_text(text)
    with pytest.raises(SecretUnusable, match="signingKey of the Secret hook") as raised:
        authenticated_by(tmp_path, "hook")
    assert text.strip() == "" or text.strip().removeprefix("whsec_") not in str(raised.value)


@pytest.mark.parametrize("names", [(), ("username",), ("password",), ("username", "signingKey")])
def test_half_a_secret_is_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text(written(OLD))
    with pytest.raises(SecretUnusable, match="Secret hook"):
        authenticated_by(tmp_path, "hook")
