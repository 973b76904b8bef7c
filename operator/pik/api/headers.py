"""Names of HTTP headers that may be kept with events and sent again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pik.api.rules import Rule, RuledBy

_NEVER = (
    *("authorization", "proxy-authorization", "cookie", "set-cookie"),  # who somebody is
    *("x-api-key", "x-auth-token", "x-amz-security-token"),
    *("x-amzn-oidc-data", "x-amzn-oidc-accesstoken", "x-amzn-oidc-identity"),  # of a load balancer
    *("x-forwarded-access-token", "x-forwarded-client-cert"),  # of a proxy
    *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    *("content-length", "content-type", "content-encoding", "accept", "user-agent"),  # of the request itself
    *("idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature"),  # of the one try
)
_NAMES = ", ".join(f"'{name}'" for name in _NEVER)

HeaderName = Annotated[
    str,
    StringConstraints(max_length=64, pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$"),
    RuledBy(
        Rule(
            f"!(self in [{_NAMES}]) && !self.startsWith('ce-')",
            "must not be a header with credentials, or one that every request has for itself",
        )
    ),
]
HeaderNames = Annotated[tuple[HeaderName, ...], Field(min_length=1, max_length=16)]
