"""The streams that this process works on: each with its ports, its writer, and its door for events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pik.api.capture_stream import CaptureStream, CaptureStreamSpec
from pik.api.common import Toggle
from pik.controller.cloud import Cloud
from pik.controller.counting import Tally
from pik.controller.engines import Codec
from pik.controller.intake_rules import fingerprint_exclude, intake_rules
from pik.controller.objects import ObjectKey, key_of
from pik.domain.arrivals import Arrival, Rejection
from pik.domain.columns import Columns
from pik.domain.errors import NotReady, PikError
from pik.domain.instants import Instant, parse_instant
from pik.domain.layout import Layout
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.capture.settings import CaptureSettings
from pik.execution.importing.progress import Progress
from pik.execution.seals import Chain
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.gateway.callers import Admission
from pik.gateway.doors import Door
from pik.ports.index import GenerationState
from pik.ports.system import Clock, Entropy, Offload


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream lies."""

    stream_id: str
    bucket: str
    table: str
    epoch: int | None = None  # of the owner record, where this process works as the owner


class NoticingCapture(Capture):
    """Says once that something has been stored; and again when that has been seen to, by `fresh` being set
    back to False, and something else is."""

    def __init__(self, stream: Stream, settings: CaptureSettings, notice: Callable[[], None]) -> None:
        super().__init__(stream, settings)
        self._notice = notice
        self.fresh = False

    async def ingest(self, arrivals: Sequence[Arrival | Rejection] | Columns) -> list[Answer]:
        answers = await super().ingest(arrivals)
        if not self.fresh and any(answer.s3_key is not None for answer in answers):
            self.fresh = True
            self._notice()
        return answers


class Looked(NamedTuple):
    """An object as of which all was found as it should be, and until when that is taken for granted."""

    generation: int | None
    annotations: int  # a hash
    until: Instant


@dataclass(slots=True)
class OpenStream:
    """One provisioned stream at work, and what this process knows of it.

    `since`: when it was made. `whole`: whether its index was, when it was last looked at. `empty`: no event
    of it is known of. `looked`: that all of it was as it should be; None where it has to be looked at.
    `built`: the generation of the index that was found to be the newest, and what was asked for then.
    `counted`, `sealed`, `swept`, `swept_all`: when its timers last went off. `sealed_news`: how many segments
    there were when all were sealed. `chain`: what is known of its seals, so that they need not all be read
    again, and when they last were. `rebuilding`: the rebuild that somebody else was seen at, and since when.
    `backfills`: how far its sources of type S3 are, and `backfill_faults`: what stopped them.
    """

    place: Place
    spec: CaptureStreamSpec
    cloud: Cloud
    stream: Stream
    capture: NoticingCapture
    door: Door | None
    tally: Tally
    since: Instant
    whole: bool = False
    empty: bool = True
    looked: Looked | None = None
    built: tuple[GenerationState, str | None] | None = None
    counted: Instant | None = None
    sealed: Instant | None = None
    sealed_news: int | None = None
    chain: tuple[Chain, Instant] | None = None
    swept: Instant | None = None
    swept_all: Instant | None = None
    rebuilding: tuple[str, Instant] | None = None
    backfills: dict[str, Progress] = field(default_factory=dict)
    backfill_faults: dict[str, PikError] = field(default_factory=dict)


class Workshop:
    """`cache`: directory for segments as files. `wake`: called with the key of a stream that got its first
    event, or its first since it was counted. `admissions`: who may send events to a stream; whoever reaches
    this process, unless it says otherwise. Belongs to one event loop."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        clock: Clock,
        entropy: Entropy,
        offload: Offload,
        cache: Path,
        wake: Callable[[ObjectKey], None],
        settings: CaptureSettings | None = None,
        admissions: Callable[[CaptureStream], Admission | None] = lambda _: None,
    ) -> None:
        self._cloud = cloud
        self._admissions = admissions
        self._clock = clock
        self._entropy = entropy
        self._offload = offload
        self._cache = cache
        self._wake = wake
        self._settings = settings or CaptureSettings()
        self._open: dict[ObjectKey, OpenStream] = {}
        self._known: Callable[[ObjectKey], bool] = lambda _: False
        self.claims = ReplayClaims(self.stream_of)

    def find(self, key: ObjectKey) -> OpenStream | None:
        return self._open.get(key)

    def stream_of(self, stream_id: str) -> Stream | None:
        """The open stream with this id."""
        return next((one.stream for one in self._open.values() if one.place.stream_id == stream_id), None)

    def door(self, namespace: str, name: str) -> Door | None:
        """`gateway.doors.Doors`. Raises `NotReady` for a stream that is there and cannot take events now."""
        key = ObjectKey(CaptureStream.KIND, namespace, name)
        found = self._open.get(key)
        if found is not None and not found.spec.suspend:
            return found.door
        if found is not None or self._known(key):
            raise NotReady(f"CaptureStream {namespace}/{name} takes no events now: see its conditions")
        return None

    def known_by(self, known: Callable[[ObjectKey], bool]) -> None:
        """Says which streams there are, open or not."""
        self._known = known

    async def open(self, resource: CaptureStream, place: Place, *, takes_events: bool) -> OpenStream:
        """The stream as its spec has it now. What was open under other settings, or with other rights, is
        closed first. Raises `RoleNotAllowed`."""
        key = key_of(resource)
        spec = resource.spec
        there = self._open.get(key)
        cloud = self._cloud.of(resource)
        if (
            there is None
            or there.place != place
            or there.cloud is not cloud
            or _working(there.spec) != _working(spec)
        ):
            await self.close(key)
            there = self._make(resource, place, cloud)
            self._open[key] = there
        there.spec = spec
        wanted = takes_events and spec.ingest.gateway is Toggle.ENABLED
        there.door = self._door(resource, there) if wanted else None
        return there

    def _door(self, resource: CaptureStream, there: OpenStream) -> Door:
        rules, admission = intake_rules(resource.spec), self._admissions(resource)
        return Door(rules, there.capture, self.claims, self._offload, admission)

    async def close(self, key: ObjectKey) -> None:
        """Answers what was taken, and takes nothing more."""
        there = self._open.pop(key, None)
        if there is not None:
            await there.capture.close()

    def opened(self) -> list[OpenStream]:
        return list(self._open.values())

    def _make(self, resource: CaptureStream, place: Place, cloud: Cloud) -> OpenStream:
        spec = resource.spec
        objects = cloud.objects(place.bucket, spec.storage)
        stream = Stream(
            namespace=resource.metadata.namespace,
            name=resource.metadata.name,
            layout=Layout(f"{spec.storage.prefix}/", place.stream_id),
            deduplication=Deduplication(spec.index.deduplication),
            retention_days=spec.storage.retentionDays,
            fingerprint_exclude=fingerprint_exclude(spec),
            objects=objects,
            index=cloud.index(place.table, spec.storage, spec.index.writes),
            files=SegmentCache(objects, self._cache / place.stream_id, self._offload),
            codec=Codec(),
            clock=self._clock,
            entropy=self._entropy,
            offload=self._offload,
            epoch=place.epoch,
        )
        key = key_of(resource)
        capture = NoticingCapture(stream, self._settings, lambda: self._wake(key))
        made = resource.metadata.creationTimestamp
        since = self._clock.now() if made is None else parse_instant(made)
        return OpenStream(place, spec, cloud, stream, capture, None, Tally(stream.index), since)


def _working(spec: CaptureStreamSpec) -> object:
    """What a stream's ports and writer are made of."""
    storage = spec.storage
    exclude = fingerprint_exclude(spec)
    return (storage.retentionDays, storage.objectLock, storage.region, spec.index.writes, exclude)
