"""Sources of type S3 of a CaptureStream: read in the background, as far as they are in its status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from pik.api.capture_stream import CaptureStream
from pik.api.sources import Compression, S3Source, SourceType
from pik.api.stream_status import SourceProgress, SourceState, SourceStatus
from pik.controller.engines import backfill
from pik.controller.intake_rules import intake_rules
from pik.controller.objects import key_of
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import PikError, SourceNotAllowed
from pik.domain.instants import Instant
from pik.execution.importing.files import DEFAULT_NULLS, FileFormat
from pik.execution.importing.progress import Objects, Progress

AGAIN = 10.0
"""Seconds until the progress of one that is at work is told again."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """`error`: what stopped it; it is begun again. `at_work`: whether it is being read now."""

    status: SourceStatus
    error: PikError | None
    at_work: bool


def backfilled(resource: CaptureStream, world: World, opened: OpenStream, *, look: bool) -> list[Backfilled]:
    """Every source of type S3. `look`: whether the bucket is to be listed for what is new."""
    done = []
    for source in resource.spec.ingest.sources or ():
        if source.type is SourceType.S3 and source.s3 is not None:
            done.append(_one(resource, world, opened, source.name, source.s3, look=look))
    return done


def _one(
    resource: CaptureStream, world: World, opened: OpenStream, name: str, of_it: S3Source, *, look: bool
) -> Backfilled:
    key, work = key_of(resource), f"backfill {name}"
    address = f"s3://{of_it.bucket}/{of_it.prefix}"
    try:
        world.roles.check_source(address, key.namespace)
        if look or world.background.is_known(key, work):
            finished = world.background.poll(
                key, work, _reading(resource, of_it), _work(resource, world, opened, name, of_it)
            )
            if finished is not None:
                opened.backfills[name] = finished.value
                opened.backfill_faults.pop(name, None)
    except PikError as fault:
        if isinstance(fault, SourceNotAllowed):
            world.background.cancel(key, work)
        opened.backfill_faults[name] = fault
    error = opened.backfill_faults.get(name)  # it stays until all is read
    at_work = world.background.is_running(key, work)
    progress = opened.backfills.get(name)
    state = SourceState.READING if error is None else SourceState.FAILING
    status = SourceStatus(
        name=name,
        type=SourceType.S3,
        address=address,
        state=state,
        message=None if error is None else str(error)[:1024],
        progress=_known(resource, name) if progress is None else _progress(progress, world.clock.now()),
    )
    return Backfilled(status, error, at_work)


def _work(
    resource: CaptureStream, world: World, opened: OpenStream, name: str, of_it: S3Source
) -> Callable[[], Awaitable[Progress]]:
    spec = resource.spec
    nulls = DEFAULT_NULLS | ({of_it.null} if of_it.null else frozenset())
    compressed = of_it.compression is Compression.GZIP
    reading = _reading(resource, of_it)
    wanted = Objects(name, reading, of_it.prefix, FileFormat(of_it.format), compressed, nulls)

    def tell(progress: Progress) -> None:
        opened.backfills[name] = progress

    async def work() -> Progress:
        objects = world.cloud.of(resource).objects(of_it.bucket, spec.storage)
        rules, claims = intake_rules(spec), world.workshop.claims
        return await backfill(
            opened.stream, opened.capture, claims, rules, objects, wanted, tell, world.reading
        )

    return work


def _reading(resource: CaptureStream, of_it: S3Source) -> str:
    """How its objects become events, in few characters."""
    rules = intake_rules(resource.spec)
    how = msgspec.json.encode([of_it.to_manifest(), rules.mapping, rules.max_event_bytes])
    return sha256(how).hexdigest()[:16]


def _progress(progress: Progress, now: Instant) -> SourceProgress:
    return SourceProgress(
        objects=progress.objects,
        pending=progress.pending,
        bytes=progress.bytes,
        events=progress.events,
        rejected=progress.rejected,
        lastKey=progress.last_key,
        observedTime=now.text,
    )


def _known(resource: CaptureStream, name: str) -> SourceProgress | None:
    """As it was told before this process began."""
    return next((each.progress for each in resource.status.sources if each.name == name), None)
