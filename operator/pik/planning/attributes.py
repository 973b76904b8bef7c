"""Further attributes of an envelope (planning.envelope), without the engines that envelopes are made with."""

from __future__ import annotations

import orjson


def with_attributes(body: bytes, **attributes: str) -> bytes:
    """A CloudEvent as `cloud_events` makes it, with further attributes of pik's own in front."""
    return orjson.dumps(attributes)[:-1] + b"," + body[1:]
