"""Who may send events, by what the API server said last and by what is mounted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pik.api.capture_stream import CaptureStream
from pik.cluster.api import Object
from pik.cluster.authentication import (
    ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    Admissions,
    MountedAdmission,
    ReviewedAdmission,
    Reviews,
)
from pik.cluster.errors import KubeDenied, KubeUnavailable
from pik.cluster.remembering import Holding, Remembered
from pik.domain.errors import NotReady, Overloaded, Unavailable
from pik.domain.instants import parse_instant
from pik.gateway.callers import Forbidden, Unauthenticated
from pik.memory.system import ManualClock

NOW = parse_instant("2026-03-01T12:00:00Z")
HOLDING = Holding(good=30.0, bad=10.0, outage=3_600.0, patience=0.05)


class Reviewing:
    """An API server that knows tokens by their text: `name@audience`. `may`: names that may send."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Object]] = []
        self.may = {"jane"}
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def create(self, path: str, body: Object, **_: str) -> Object:
        self.asked.append((path, body["spec"]))
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if path == TOKEN_REVIEWS:
            name, _at, audience = body["spec"]["token"].partition("@")
            audience = audience.partition(".")[0]
            known = name in ("jane", "joe")
            granted = [one for one in body["spec"]["audiences"] if one == audience]
            user = {"username": name, "uid": "u", "groups": ["g"], "extra": {"k": ["v"]}}
            if audience == "unaware":
                return {"status": {"authenticated": known, "user": user}}
            return {"status": {"authenticated": known and bool(granted), "user": user, "audiences": granted}}
        return {"status": {"allowed": body["spec"]["user"] in self.may}}

    def count(self) -> Counter[str]:
        return Counter(path for path, _ in self.asked)


class Scene:
    def __init__(self) -> None:
        self.api, self.clock = Reviewing(), ManualClock(NOW)
        self.told: list[tuple[str, str]] = []
        self.reviews = Reviews(
            self.api,  # type: ignore[arg-type]
            "pik",
            self.clock,
            lambda *told: self.told.append(told),
            HOLDING,
        )

    async def admit(self, header: bytes | None, namespace: str = "shop", name: str = "orders") -> None:
        await ReviewedAdmission(self.reviews, namespace, name).admit(header)


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


async def test_who_is_known_and_may_is_admitted() -> None:
    scene = Scene()
    await scene.admit(b"bearer   jane@pik ")
    (_, review), (_, access) = scene.api.asked
    assert review == {"token": "jane@pik", "audiences": ["pik"]}
    assert access == {
        "user": "jane",
        "uid": "u",
        "groups": ["g"],
        "extra": {"k": ["v"]},
        "resourceAttributes": {
            "verb": "create",
            "group": "pik.dev",
            "version": "v1alpha1",
            "resource": "capturestreams",
            "subresource": "events",
            "namespace": "shop",
            "name": "orders",
        },
    }
    assert scene.told == [("TokenReview", "Allowed")]


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic jane@pik", b"jane@pik", b"Bearer " + b"x" * 20_000],
)
async def test_without_a_token_nobody_is_asked(header: bytes | None) -> None:
    scene = Scene()
    with pytest.raises(Unauthenticated):
        await scene.admit(header)
    assert scene.api.asked == []
    assert scene.told == [("TokenReview", "Unauthenticated")]


@pytest.mark.parametrize("token", ["eve@pik", "jane@kubernetes", "jane@unaware", "ja\xffne@pik"])
async def test_an_unknown_token_or_one_for_others_is_not_believed(token: str) -> None:
    scene = Scene()
    with pytest.raises(Unauthenticated) as refused:
        await scene.admit(f"Bearer {token}".encode("latin-1"))
    assert token not in str(refused.value)
    assert scene.api.count()[ACCESS_REVIEWS] == 0


async def test_who_may_not_is_told_so_and_only_for_that_stream() -> None:
    scene = Scene()
    with pytest.raises(Forbidden, match="joe may not create capturestreams/events of orders in shop"):
        await scene.admit(bearer("joe@pik"))
    assert scene.told == [("TokenReview", "Forbidden")]


async def test_answers_hold_for_a_while_and_no_longer() -> None:
    scene = Scene()
    for _ in range(3):
        await scene.admit(bearer("jane@pik"))
    await scene.admit(bearer("jane@pik"), name="other")
    assert scene.api.count() == {TOKEN_REVIEWS: 1, ACCESS_REVIEWS: 2}
    scene.api.may.clear()
    scene.clock.advance(31)
    with pytest.raises(Forbidden):
        await scene.admit(bearer("jane@pik"))
    scene.api.may.add("jane")
    with pytest.raises(Forbidden):
        await scene.admit(bearer("jane@pik"))  # a refusal holds too
    scene.clock.advance(11)
    await scene.admit(bearer("jane@pik"))


async def test_many_at_once_ask_once() -> None:
    scene = Scene()
    scene.api.gate = asyncio.Event()
    callers = [asyncio.create_task(scene.admit(bearer("jane@pik"))) for _ in range(20)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    scene.api.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] + [type(None)] * 19
    assert scene.api.count() == {TOKEN_REVIEWS: 1, ACCESS_REVIEWS: 1}


async def test_while_the_api_server_is_away_who_was_allowed_goes_on_and_others_wait() -> None:
    scene = Scene()
    await scene.admit(bearer("jane@pik"))
    scene.clock.advance(31)
    scene.api.fault = KubeUnavailable("away")
    await scene.admit(bearer("jane@pik"))
    with pytest.raises(Unavailable):
        await scene.admit(bearer("joe@pik"))
    with pytest.raises(Unavailable):
        await scene.admit(bearer("jane@pik"), name="other")  # never asked about that one
    scene.clock.advance(3_600)
    with pytest.raises(Unavailable):
        await scene.admit(bearer("jane@pik"))
    assert scene.told[-1] == ("TokenReview", "Undecided")
    scene.api.fault = None
    await scene.admit(bearer("jane@pik"))


async def test_an_api_server_that_is_silent_holds_up_nobody_who_was_allowed() -> None:
    scene = Scene()
    await scene.admit(bearer("jane@pik"))
    scene.clock.advance(31)
    scene.api.gate = asyncio.Event()
    await asyncio.wait_for(scene.admit(bearer("jane@pik")), 30)
    scene.api.gate.set()


async def test_a_token_ends_when_it_says_so_also_in_an_outage() -> None:
    scene = Scene()
    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": NOW.micros / 1e6 + 600}).encode()).decode().rstrip("=")
    )
    token = bearer(f"jane@pik.{claims}.signature")
    await scene.admit(token)
    scene.api.fault = KubeUnavailable("away")
    scene.clock.advance(599)
    await scene.admit(token)
    scene.clock.advance(2)
    with pytest.raises(Unavailable):
        await scene.admit(token)


async def test_a_gateway_that_may_not_review_says_that_it_cannot_tell() -> None:
    scene = Scene()
    scene.api.fault = KubeDenied("tokenreviews is forbidden")
    with pytest.raises(Unavailable, match="cannot be asked"):
        await scene.admit(bearer("jane@pik"))


async def test_no_token_is_remembered_as_it_came() -> None:
    scene = Scene()
    await scene.admit(bearer("jane@pik"))
    kept = repr(scene.reviews._callers._good) + repr(scene.reviews._access._good)
    assert "jane@pik" not in kept


async def test_a_flood_of_unknown_tokens_drives_nobody_out_and_is_bounded() -> None:
    clock = ManualClock(NOW)
    remembered: Remembered[int, bool] = Remembered(clock, HOLDING, entries=10, asking=4)

    def answer(value: bool) -> Callable[[], Any]:
        async def ask() -> bool:
            return value

        return ask

    await remembered.get(-1, answer(True), lambda _: True)
    for number in range(100):
        await remembered.get(number, answer(False), lambda _: True)
    assert len(remembered._bad) == 10

    async def never() -> bool:
        raise AssertionError("it is known")

    assert await remembered.get(-1, never, lambda _: True)
    gate = asyncio.Event()

    async def slow() -> bool:
        await gate.wait()
        return True

    asking = [asyncio.create_task(remembered.get(1_000 + n, slow, lambda _: True)) for n in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await remembered.get(2_000, slow, lambda _: True)
    gate.set()
    assert await asyncio.gather(*asking) == [True] * 4


def mounted(tmp_path: Path, told: list[tuple[str, str]]) -> tuple[Path, MountedAdmission]:
    path = tmp_path / "shop" / "producers" / "token"
    path.parent.mkdir(parents=True)
    return path, MountedAdmission(path, lambda *said: told.append(said))


async def test_a_mounted_token_is_the_one_that_counts_and_can_be_changed(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    path, admission = mounted(tmp_path, told)
    with pytest.raises(NotReady, match="not mounted"):
        await admission.admit(bearer("first"))
    path.write_text("first\n")
    await admission.admit(bearer("first"))
    for header in (None, bearer("second"), bearer("firs"), bearer("first2"), b"Basic first"):
        with pytest.raises(Unauthenticated) as refused:
            await admission.admit(header)
        assert "first" not in str(refused.value)
    swapped = path.with_name("new")
    swapped.write_text("second")
    swapped.replace(path)  # as kubelet does it
    await admission.admit(bearer("second"))
    with pytest.raises(Unauthenticated):
        await admission.admit(bearer("first"))
    path.write_text(" \n")
    with pytest.raises(NotReady, match="empty"):
        await admission.admit(bearer("second"))
    with pytest.raises(Unauthenticated):
        await admission.admit(b"Bearer ")
    assert "second" not in repr(admission)
    assert {result for _, result in told} == {"Undecided", "Allowed", "Unauthenticated"}


def test_each_stream_has_the_admission_that_it_asks_for(tmp_path: Path) -> None:
    scene = Scene()
    make = Admissions(scene.reviews, tmp_path, lambda *_: None)

    def of(auth: dict[str, Any]) -> object:
        manifest = {
            "metadata": {"namespace": "shop", "name": "orders"},
            "spec": {"storage": {"prefix": "p"}, "ingest": {"auth": auth}},
        }
        return make(CaptureStream.from_manifest(manifest))

    assert of({}) is None
    assert of({"type": "TokenReview"}) == ReviewedAdmission(scene.reviews, "shop", "orders")
    token = of({"type": "Token", "secretRef": {"name": "producers"}})
    assert isinstance(token, MountedAdmission)
    assert token.path == tmp_path / "shop" / "producers" / "token"
