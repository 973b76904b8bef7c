"""What is done for streams: drift set right, orphans indexed, seals made."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from pik.api.kinds import AnyResource
from pik.api.stream_status import CaptureStreamStatus
from pik.cluster.metrics import names
from pik.cluster.metrics.registry import Values, read
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import AnyStatus


@dataclass(slots=True)
class _Tended:
    """One stream's. `unreadable`: None before the first look."""

    drift: Tally[str] = field(default_factory=Tally)
    orphans: int = 0
    unreadable: int | None = None
    seals: int = 0
    sealed: int = 0
    broken: int = 0


class StreamMetrics:
    """`controller.observers.StreamObserver`. What is gone is forgotten. Belongs to one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._streams: dict[ObjectKey, _Tended] = {}
        read(registry, names.STREAM_DRIFT, self._drift)
        for metric, figure in (
            (names.STREAM_ORPHANS, lambda tended: tended.orphans),
            (names.STREAM_UNREADABLE, lambda tended: tended.unreadable),
            (names.STREAM_SEALS, lambda tended: tended.seals),
            (names.STREAM_SEALED, lambda tended: tended.sealed),
            (names.STREAM_SEALS_BROKEN, lambda tended: tended.broken),
        ):
            read(registry, metric, self._values(figure))

    def passed(self, resource: AnyResource, status: AnyStatus) -> None:
        before = resource.status
        if isinstance(before, CaptureStreamStatus) and isinstance(status, CaptureStreamStatus):
            tended = self._of(key_of(resource))
            tended.drift.update(drift.action.value for drift in status.drift if drift not in before.drift)

    def gone(self, key: ObjectKey) -> None:
        self._streams.pop(key, None)

    def swept(self, key: ObjectKey, indexed: int, unreadable: int) -> None:
        tended = self._of(key)
        tended.orphans += indexed
        tended.unreadable = unreadable

    def sealed(self, key: ObjectKey, seals: int, segments: int) -> None:
        tended = self._of(key)
        tended.seals += seals
        tended.sealed += segments

    def seal_broken(self, key: ObjectKey) -> None:
        self._of(key).broken += 1

    def _of(self, key: ObjectKey) -> _Tended:
        return self._streams.setdefault(key, _Tended())

    def _drift(self) -> Values:
        return {
            (key.namespace, key.name, action): count
            for key, tended in self._streams.items()
            for action, count in tended.drift.items()
        }

    def _values(self, figure: Callable[[_Tended], int | None]) -> Callable[[], Values]:
        def values() -> Values:
            found = {key: figure(tended) for key, tended in self._streams.items()}
            return {(key.namespace, key.name): value for key, value in found.items() if value is not None}

        return values
