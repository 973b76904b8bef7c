"""An EventBridge event bus as a target, which keeps no order.

Quotas (PutEvents, user guide): 10 entries a call, and 256 KiB in all of it: source, detail type, detail, and
14 bytes for the time. Accounts have been given 1 MiB since: an entry above 256 KiB goes alone, and AWS says
whether it takes it. So does one whose detail type has more than the 128 characters of the API's reference.

The detail of an entry is the CloudEvent. The envelope's `replay-name`, which EventBridge's own replays set,
cannot be set by anyone else: the detail has `pikreplay` and `pikrun` instead, which rules can match.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pik.aws.deliveries import UNANSWERED, apart, failed, missing, of_entry, one_by_one, refused
from pik.aws.errors import call, is_code
from pik.domain.errors import NoSuchTable, Refused, Unavailable
from pik.domain.payloads import MAX_NAME_BYTES
from pik.planning.attributes import with_attributes
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef, PutEventsResultEntryTypeDef

_BATCH_EVENTS = 10
_BATCH_BYTES = 262_144
_TIME_BYTES = 14
_MARK_BYTES = 512  # what `pikkey` and `pikreplay` add to a detail, at most
_DETAIL_TYPE = 128  # characters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_BUS = "ResourceNotFoundException"


class EventBridgeSink:
    """`ports.Sink`. `client` should not retry by itself. `bus`: an ARN or a name. `source`, `detail_type`:
    those of every entry; None: each event's own."""

    def __init__(
        self,
        client: EventBridgeClient,
        io: Offload,
        bus: str,
        *,
        source: str | None = None,
        detail_type: str | None = None,
        in_flight: int = 8,
    ) -> None:
        self._client = client
        self._io = io
        self._bus = bus
        self._source = source
        self._detail_type = detail_type
        self._traits = SinkTraits(
            batch_events=_BATCH_EVENTS,
            batch_bytes=_BATCH_BYTES - _BATCH_EVENTS * (_TIME_BYTES + _MARK_BYTES + 2 * MAX_NAME_BYTES),
            in_flight=in_flight,
            order=TargetOrder.NONE,
            remembers_seconds=None,
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        entries = self._entries(batch)
        doubtful = [n for n, entry in enumerate(entries) if _is_doubtful(entry)]
        if doubtful and len(entries) > 1:
            return await apart(batch, doubtful, self.send)
        return await self._put(batch, entries)

    async def close(self) -> None: ...

    async def _put(self, batch: Batch, entries: list[PutEventsRequestEntryTypeDef]) -> list[Delivery]:
        try:
            answer = await call(self._io, self._client.put_events, Entries=entries)
        except Unavailable as error:
            return [failed(error)] * len(entries)
        except NoSuchTable as error:
            if not is_code(error, _NO_BUS):
                raise
            return [missing(f"event bus {self._bus}", "EventBusNotFound")] * len(entries)
        except Refused as error:
            return [refused(error)] if len(entries) == 1 else await one_by_one(batch, self.send)
        told = answer["Entries"]
        if len(told) != len(entries):
            return [UNANSWERED] * len(entries)
        tries = 1 + answer["ResponseMetadata"].get("RetryAttempts", 0)
        return [self._judged(one, tries) for one in told]

    def _judged(self, told: PutEventsResultEntryTypeDef, tries: int) -> Delivery:
        code = told.get("ErrorCode")
        if code == _NO_BUS:
            return missing(f"event bus {self._bus}", "EventBusNotFound")
        if code:
            return of_entry(code, told.get("ErrorMessage", ""))
        return Delivery(Disposition.DELIVERED, told.get("EventId", ""), tries=tries)

    def _entries(self, batch: Batch) -> list[PutEventsRequestEntryTypeDef]:
        events = batch.messages.events
        named = (events.column(name).to_pylist() for name in ("source", "event_type", "event_micros"))
        marks = {"pikreplay": batch.replay} if batch.replay else {}
        return [
            {
                "EventBusName": self._bus,
                "Source": self._source or source,
                "DetailType": self._detail_type or event_type,
                "Time": _EPOCH + timedelta(microseconds=micros),
                "Detail": with_attributes(message.body, pikkey=message.key, **marks).decode(),
            }
            for message, source, event_type, micros in zip(batch.messages, *named, strict=True)
        ]


def _is_doubtful(entry: PutEventsRequestEntryTypeDef) -> bool:
    """Whether AWS may refuse it, and with it the whole call."""
    texts = (entry["Source"], entry["DetailType"], entry["Detail"])
    size = _TIME_BYTES + sum(len(text.encode()) for text in texts)
    return size > _BATCH_BYTES or len(entry["DetailType"]) > _DETAIL_TYPE
