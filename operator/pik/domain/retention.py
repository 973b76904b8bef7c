"""Expiry is logical: whoever reads drops what is past retention, whenever lifecycle and TTL get to it."""

from __future__ import annotations

from datetime import timedelta

from pik.domain.instants import Instant


def is_expired(ingest_time: Instant, days: int | None, now: Instant) -> bool:
    """Whether something ingested then is past `days` of retention now; by ingest date in UTC, None keeps."""
    if days is None:
        return False
    return ingest_time.to_datetime().date() + timedelta(days=days) < now.to_datetime().date()
