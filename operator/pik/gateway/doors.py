"""Where a request's events go: the way into one stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pik.domain.intake import IntakeRules
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.gateway.callers import Admission
from pik.ports.system import Offload


@dataclass(frozen=True, slots=True)
class Door:
    """What takes a stream's events. `admission` None: from everybody who reaches it."""

    rules: IntakeRules
    capture: Capture
    claims: ReplayClaims
    offload: Offload
    admission: Admission | None = None


Doors = Callable[[str, str], Door | None]
"""By namespace and name; None: there is no such stream, or it takes no events over HTTP, or not yet."""
