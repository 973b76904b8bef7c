"""Who may send events to a stream (spec.ingest.auth): by the token of a ServiceAccount, which the API server
reviews, or by a token that the administrator has mounted.

No token is kept, logged or repeated in an answer; what is remembered of one is its SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import msgspec

from pik.api.capture_stream import AuthType, CaptureStream
from pik.api.common import GROUP, VERSION
from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeError
from pik.cluster.remembering import Holding, Remembered
from pik.domain.errors import NotReady, Unavailable
from pik.gateway.callers import Admission, Forbidden, Unauthenticated
from pik.ports.system import Clock

log = logging.getLogger(__name__)

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
VERB, RESOURCE, SUBRESOURCE = "create", "capturestreams", "events"

_LONGEST_TOKEN = 16_384  # bytes
_MICROS = 1_000_000


class Verdict(StrEnum):
    ALLOWED = "Allowed"
    UNAUTHENTICATED = "Unauthenticated"
    FORBIDDEN = "Forbidden"
    UNDECIDED = "Undecided"


Told = Callable[[str, str], None]
"""Is told of each decision: the `AuthType`, and the `Verdict`."""


REVIEWED = Holding(good=30.0, bad=10.0, outage=3_600.0)
"""While the API server is away, who was allowed last goes on; never longer than the token itself says."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token is of, as the API server says. `until`: microseconds since the epoch."""

    user: Object
    until: int | None


class Reviews:
    """Asks the API server, once for many requests. Belongs to one event loop.

    `audience`: that a token has to be for. A token of another, the API server's own for one, is refused: who
    gets hold of what was sent to a gateway can do nothing with it elsewhere.
    """

    def __init__(
        self, api: Api, audience: str, clock: Clock, told: Told, holding: Holding = REVIEWED
    ) -> None:
        self._api = api
        self._audience = audience
        self._clock = clock
        self._told = told
        self._callers: Remembered[bytes, Caller | None] = Remembered(clock, holding)
        self._access: Remembered[tuple[bytes, str, str], bool] = Remembered(clock, holding)

    async def admit(self, namespace: str, name: str, authorization: bytes | None) -> None:
        """As `Admission.admit` of this stream."""
        with _telling(self._told, AuthType.TOKEN_REVIEW):
            try:
                await self._admit(namespace, name, _bearer(authorization))
            except KubeError as error:
                log.warning("callers cannot be reviewed: %s", error)
                raise Unavailable("the API server cannot be asked who calls") from error

    async def _admit(self, namespace: str, name: str, token: bytes) -> None:
        digest = sha256(token).digest()
        caller = await self._callers.get(digest, lambda: self._review(token), self._is_current)
        if caller is None:
            raise Unauthenticated(f"the token is not valid for the audience {self._audience}")
        allowed = await self._access.get(
            (digest, namespace, name), lambda: self._may(caller, namespace, name), lambda _: True
        )
        if not allowed:
            who = caller.user.get("username")
            raise Forbidden(f"{who} may not {VERB} {RESOURCE}/{SUBRESOURCE} of {name} in {namespace}")

    def _is_current(self, caller: Caller | None) -> bool:
        """Whether what was found out about a token may still hold by what the token itself says."""
        return caller is None or caller.until is None or self._clock.now().micros < caller.until

    async def _review(self, token: bytes) -> Caller | None:
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            return None
        answer = await self._api.create(
            TOKEN_REVIEWS,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": text, "audiences": [self._audience]},
            },
        )
        status = answer.get("status", {})
        # an authenticator that knows no audiences answers without one
        if not status.get("authenticated") or self._audience not in status.get("audiences", ()):
            return None
        return Caller(status["user"], _expiry(token))

    async def _may(self, caller: Caller, namespace: str, name: str) -> bool:
        user = caller.user
        answer = await self._api.create(
            ACCESS_REVIEWS,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": user.get("username", ""),
                    "uid": user.get("uid", ""),
                    "groups": user.get("groups", []),
                    "extra": user.get("extra", {}),
                    "resourceAttributes": {
                        "verb": VERB,
                        "group": GROUP,
                        "version": VERSION,
                        "resource": RESOURCE,
                        "subresource": SUBRESOURCE,
                        "namespace": namespace,
                        "name": name,
                    },
                },
            },
        )
        return bool(answer.get("status", {}).get("allowed"))


@dataclass(frozen=True, slots=True)
class ReviewedAdmission:
    """`gateway.callers.Admission` of one stream, type TokenReview."""

    reviews: Reviews
    namespace: str
    name: str

    async def admit(self, authorization: bytes | None) -> None:
        await self.reviews.admit(self.namespace, self.name, authorization)


@dataclass(slots=True)
class MountedAdmission:
    """The same, type Token. `path`: of the file that holds the token; what replaces it is used at once."""

    path: Path
    told: Told
    _known: tuple[tuple[int, int, int], bytes] | None = field(default=None, repr=False)

    async def admit(self, authorization: bytes | None) -> None:
        with _telling(self.told, AuthType.TOKEN):
            shown = _bearer(authorization)
            if not hmac.compare_digest(shown, self._expected()):
                raise Unauthenticated("the token is not the one of this stream")

    def _expected(self) -> bytes:
        try:
            stat = self.path.stat()
            found = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if self._known is None or self._known[0] != found:
                self._known = (found, self.path.read_bytes().strip())
        except OSError as error:
            raise NotReady("the token of this stream is not mounted into the gateway") from error
        if not self._known[1]:
            raise NotReady("the token of this stream, as mounted into the gateway, is empty")
        return self._known[1]


@dataclass(frozen=True, slots=True)
class Admissions:
    """Makes each stream's admission. `tokens`: directory with `<namespace>/<secret>/token` for each secret
    that streams of that namespace may name."""

    reviews: Reviews
    tokens: Path
    told: Told

    def __call__(self, resource: CaptureStream) -> Admission | None:
        auth, meta = resource.spec.ingest.auth, resource.metadata
        match auth.type:
            case AuthType.NONE:
                return None
            case AuthType.TOKEN_REVIEW:
                return ReviewedAdmission(self.reviews, meta.namespace, meta.name)
            case AuthType.TOKEN:
                secret = "" if auth.secretRef is None else auth.secretRef.name
                return MountedAdmission(self.tokens / meta.namespace / secret / "token", self.told)


@contextmanager
def _telling(told: Told, kind: AuthType) -> Iterator[None]:
    verdict = Verdict.UNDECIDED
    try:
        yield
        verdict = Verdict.ALLOWED
    except Unauthenticated:
        verdict = Verdict.UNAUTHENTICATED
        raise
    except Forbidden:
        verdict = Verdict.FORBIDDEN
        raise
    finally:
        told(kind.value, verdict.value)


def _bearer(authorization: bytes | None) -> bytes:
    """The token that a request shows. Raises `Unauthenticated`."""
    scheme, _, token = (authorization or b"").strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("this stream takes events with a header Authorization: Bearer <token>")
    if len(token) > _LONGEST_TOKEN:
        raise Unauthenticated("the token is too long to be one")
    return token


class _Claims(msgspec.Struct):
    exp: float | None = None  # seconds since the epoch


def _expiry(token: bytes) -> int | None:
    """When a token that was found valid says that it ends; None where it says nothing."""
    parts = token.split(b".")
    if len(parts) != 3:
        return None
    try:
        body = base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(body, type=_Claims)
    except (binascii.Error, msgspec.DecodeError):
        return None
    return None if claims.exp is None else round(claims.exp * _MICROS)
