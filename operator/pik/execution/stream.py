"""A stream as the work sees it: where its things lie and what was declared about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pik.domain.layout import Layout
from pik.ports.index import Index
from pik.ports.objects import ObjectStore
from pik.ports.segments import SegmentCodec, SegmentFiles
from pik.ports.system import Clock, Entropy, Offload


class Deduplication(StrEnum):
    """When the first-arrival rule is applied: at ingest, or whenever the stream is read."""

    ON_WRITE = "OnWrite"
    ON_READ = "OnRead"


@dataclass(frozen=True, slots=True)
class Stream:
    """One provisioned CaptureStream with its ports."""

    namespace: str
    name: str
    layout: Layout
    deduplication: Deduplication
    retention_days: int | None  # by ingest date; None keeps for good
    fingerprint_exclude: tuple[str, ...]  # dot paths into the payload
    objects: ObjectStore
    index: Index
    files: SegmentFiles
    codec: SegmentCodec
    clock: Clock
    entropy: Entropy
    offload: Offload
    epoch: int | None = None  # of the owner this process works for; None: nobody's but a reader's
