"""The bounds of group commit and of waiting."""

from __future__ import annotations

import math

import msgspec

from pik.execution.reading.describe import SETTLE
from pik.execution.retrying import Patience

MAX_WAIT = 5.0
"""Seconds: `max_wait` of a gateway, where nothing else is said."""


class CaptureSettings(msgspec.Struct, frozen=True):
    """Defaults measured on two cores: a linger of 0 to 2 ms with two commits in flight while the next batch
    forms is best; 20 ms halves the rate of single events."""

    linger: float = 0.002  # seconds to wait for company before a commit
    max_rows: int = 10_000  # in a segment
    max_bytes: int = 32 * 1024 * 1024  # of arrivals in a segment, as they are kept in memory
    commits: int = 2  # segments under way at once
    max_waiting: int = 200_000  # events that wait to be written: several of the largest requests
    max_waiting_bytes: int = 512 * 1024 * 1024
    max_wait: float = math.inf  # seconds that an event may have to wait behind others, as it goes lately
    settle: float = SETTLE
    void_wait: float = 10.0  # seconds to wait for another writer's segment: longer than a PUT takes
    patience: Patience = Patience()
    restarts: int = 20  # times that an event may start again before its request fails
