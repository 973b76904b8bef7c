"""What a replay may take, from the manifest alone (bounds) and from what was counted (duration, cost)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

import msgspec

from pik.api.replay_job import Duplicates
from pik.api.targets import DEFAULT_BATCH, TargetType
from pik.domain.arrivals import Outcome
from pik.domain.instants import parse_instant
from pik.domain.segments import SegmentEntry
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.plan import Measure, holds_repeats, may_hold, maybe_events, window_range
from pik.planning.replay.spec import ReplaySpec, TargetAddress

CHUNK = 1_000
"""Events between two checkpoints, at most."""

BULK_CHUNK = 10_000
"""The same, to a target that takes as many in one call: an object in S3."""

PRICES_AS_OF = "2026-06, us-east-1, first tier, without the free one"
"""List prices in US dollars a request. They change, and differ by region: an estimate, not an offer."""
_SQS_STANDARD = Decimal("0.40") / 1_000_000
_SQS_FIFO = Decimal("0.50") / 1_000_000
_S3_PUT = Decimal("0.005") / 1_000
_KINESIS_UNIT = Decimal("0.014") / 1_000_000  # of a provisioned stream
_KINESIS_UNIT_BYTES = 25_600  # of a record; more is billed as more units
_EVENT_BRIDGE_UNIT = Decimal("1.00") / 1_000_000
_EVENT_BRIDGE_UNIT_BYTES = 65_536
_LAMBDA_REQUEST = Decimal("0.20") / 1_000_000  # without the function's own time
_SQS_BILLED_BYTES = 65_536  # of a request's payload; more is billed as more requests
_SQS_BATCH = 10
_ENVELOPE_BYTES = 500  # what a CloudEvent adds to its payload, about


class Bounds(msgspec.Struct, frozen=True):
    """How many events a slice can have, by the manifest."""

    least: int
    most: int
    segments: int  # that can hold it
    scanned_bytes: int  # of those segments


class Requests(msgspec.Struct, frozen=True):
    """What a run asks of AWS, about."""

    target: int  # to AWS, as it bills them; 0 to an HTTP endpoint
    bookkeeping: int  # objects of the run: intents, outcomes, records


def bounds(spec: ReplaySpec, segments: Sequence[SegmentEntry], *, on_read: bool) -> Bounds:
    """From the manifest alone. The least is above 0 only where whole segments must belong to the slice."""
    holding = [entry for entry in segments if may_hold(spec, entry)]
    most = sum(maybe_events(entry) for entry in holding)
    if spec.duplicates is Duplicates.ALL and not on_read:
        most += sum(entry.outcomes[Outcome.DUPLICATE] for entry in segments if holds_repeats(spec, entry))
    selective = on_read or any((spec.entities, spec.sources, spec.event_types, spec.where))
    least = 0 if selective else sum(entry.events for entry in holding if _inside(spec, entry))
    limit = most if spec.limit is None else spec.limit
    return Bounds(min(least, limit), min(most, limit), len(holding), sum(entry.bytes for entry in holding))


def estimated_seconds(measure: Measure, pace: EffectivePace) -> float | None:
    """How long the pace makes the run last; None where only the target decides."""
    spans = []
    if pace.events_per_second is not None:
        spans.append(measure.matched / pace.events_per_second)
    if pace.speed is not None and measure.first_event_time and measure.last_event_time:
        first, last = parse_instant(measure.first_event_time), parse_instant(measure.last_event_time)
        spans.append((last.micros - first.micros) / 1_000_000 / pace.speed)
    return max(spans, default=None)


def duration_text(seconds: float) -> str:
    """`1h30m`, `12s`; rounded up to whole seconds."""
    whole = -int(-seconds // 1)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [f"{value}{unit}" for value, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if value]
    return "".join(parts) or "0s"


def estimated_requests(measure: Measure, target: TargetAddress, shards: int) -> Requests:
    """About how many requests the run makes that AWS bills."""
    chunk = BULK_CHUNK if target.type is TargetType.S3 else CHUNK
    chunks = _ceil(measure.matched, chunk) + shards
    bookkeeping = 2 * chunks + shards + 2
    if target.type is TargetType.SQS:
        size = measure.bytes + measure.matched * _ENVELOPE_BYTES
        return Requests(max(_ceil(measure.matched, _SQS_BATCH), _ceil(size, _SQS_BILLED_BYTES)), bookkeeping)
    if target.type is TargetType.KINESIS:
        return Requests(measure.matched * _ceil(_mean(measure), _KINESIS_UNIT_BYTES), bookkeeping)
    if target.type is TargetType.EVENT_BRIDGE:
        return Requests(measure.matched * _ceil(_mean(measure), _EVENT_BRIDGE_UNIT_BYTES), bookkeeping)
    if target.type is TargetType.LAMBDA:
        return Requests(_ceil(measure.matched, target.batch or DEFAULT_BATCH), bookkeeping)
    return Requests(chunks if target.type is TargetType.S3 else 0, bookkeeping)


def estimated_cost(requests: Requests, target: TargetAddress) -> str:
    """US dollars as decimal text, rounded up to a hundredth of a cent, by the prices of PRICES_AS_OF. Without
    data transfer, storage, and what receivers pay."""
    each = {
        TargetType.SQS: _SQS_FIFO if target.is_fifo else _SQS_STANDARD,
        TargetType.S3: _S3_PUT,
        TargetType.KINESIS: _KINESIS_UNIT,
        TargetType.EVENT_BRIDGE: _EVENT_BRIDGE_UNIT,
        TargetType.LAMBDA: _LAMBDA_REQUEST,
    }
    cost = requests.bookkeeping * _S3_PUT + requests.target * each.get(target.type, Decimal(0))
    return f"{cost.quantize(Decimal('0.0001'), ROUND_UP)}"


def _inside(spec: ReplaySpec, entry: SegmentEntry) -> bool:
    span = window_range(spec, entry)
    return span is not None and span.first in spec.window and span.last in spec.window


def _mean(measure: Measure) -> int:
    """Bytes of a message, about."""
    return _ENVELOPE_BYTES + _ceil(measure.bytes, max(1, measure.matched))


def _ceil(amount: int, unit: int) -> int:
    return -(-amount // unit)
