"""One stream's DynamoDB table as `ports.Index`; `index_items` says how it is laid out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from pik.aws.dynamo_table import ACTIONS, KEYS, STATEMENTS, DynamoTable
from pik.aws.index_items import (
    BY_ENTITY,
    EVENT,
    GENERATION_KEY,
    LEASES,
    SEGMENTS,
    TIME_TO_LIVE,
    Item,
    event_item,
    event_key,
    event_parameters,
    expiry,
    generation_item,
    generation_prefix,
    generation_state_of,
    holding_prefix,
    mark_item,
    mark_key,
    mark_of,
    marks_key,
    reservation_of,
    segment_entry_of,
    segment_item,
)
from pik.domain.errors import Fenced, Unavailable
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID
from pik.execution.concurrency import all_of
from pik.ports.index import GenerationState, Reservation

_AT_ONCE = 4  # batches of one call under way; more are slower
_TRANSACTED = 50  # events that are worth a transaction
_CAREFUL = 10_000  # events that are put by statements after a transaction met a repeat
_ROUNDS = 5  # of looking at what was met, and putting again what has gone since
_HOUR_MILLIS = 3_600_000


class DynamoIndex:
    """`retention_days`: items expire after it, counted from their segment's stamp; None keeps them.
    `transactions`: whether many events at once are reserved by them, which carry four times as many and take
    half of the time for each, for three write units instead of two."""

    def __init__(
        self, table: DynamoTable, retention_days: int | None = None, *, transactions: bool = False
    ) -> None:
        self._table = table
        self._transactions = transactions
        self._retention_days = retention_days
        self._careful = 0  # events that are still to be put by statements
        expires = f",'{TIME_TO_LIVE}':?" if retention_days is not None else ""
        self._insert = f"INSERT INTO \"{table.name}\" VALUE {{'pk':?,'sk':'e','e':?,'t':?,'v':?{expires}}}"

    async def generation(self) -> GenerationState | None:
        item = await self._table.get(GENERATION_KEY)
        return None if item is None else generation_state_of(item)

    async def fence(self, number: int, nonce: str) -> None:
        if not await self._table.put_if(
            generation_item(number, nonce, ready=False),
            "attribute_not_exists(pk) OR n < :n OR (n = :n AND r = :building)",
            {":n": {"N": str(number)}, ":building": {"BOOL": False}},
        ):
            raise Fenced(f"the index is at generation {number} or a newer one")

    async def set_ready(self, number: int, nonce: str) -> None:
        if not await self._table.put_if(
            generation_item(number, nonce, ready=True),
            "n = :n AND o = :o",
            {":n": {"N": str(number)}, ":o": {"S": nonce}},
        ):
            raise Fenced(f"the index is no longer at this rebuild of generation {number}")

    async def reserve(self, wanted: Sequence[Reservation]) -> list[Reservation | None]:
        found: dict[str, Reservation] = {}
        left = wanted
        for attempt in range(_ROUNDS):
            met = await self._put_if_absent(left)
            there = await self._there(met)
            found.update(there)
            left = [reservation for reservation in met if reservation.event_id not in there]
            if not left:
                return [found.get(reservation.event_id) for reservation in wanted]
            await self._table.pause(attempt)
        raise Unavailable(f"entries of {self._table.name} come and go")

    async def take_over(self, reservation: Reservation, seen: Reservation) -> Reservation | None:
        for attempt in range(_ROUNDS):
            if await self._table.put_if(
                self._event(reservation),
                "attribute_not_exists(pk) OR begins_with(v, :seen)",
                {":seen": {"S": holding_prefix(seen)}},
            ):
                return None
            item = await self._table.get(event_key(reservation.event_id))
            if item is not None:
                return reservation_of(item)
            await self._table.pause(attempt)
        raise Unavailable(f"entries of {self._table.name} come and go")

    async def put_winners(self, winners: Sequence[Reservation]) -> None:
        batches = [winners[start : start + ACTIONS] for start in range(0, len(winners), ACTIONS)]
        await all_of([partial(self._put_where_older, batch) for batch in batches], _AT_ONCE)

    async def put_segment(self, entry: SegmentEntry, generation: int) -> None:
        await self._put_segment_if(
            entry, "n = :n AND r = :r", {":n": {"N": str(generation)}, ":r": {"BOOL": True}}
        )

    async def rebuild_segment(self, entry: SegmentEntry, generation: int, nonce: str) -> None:
        await self._put_segment_if(
            entry,
            "n = :n AND r = :r AND o = :o",
            {":n": {"N": str(generation)}, ":r": {"BOOL": False}, ":o": {"S": nonce}},
        )

    async def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        condition = "pk = :pk"
        values = {":pk": {"S": SEGMENTS}}
        if since is not None:
            hour = since.micros // 1_000 // _HOUR_MILLIS * _HOUR_MILLIS
            condition += " AND sk >= :first"
            values[":first"] = {"S": f"{max(0, hour):012x}"}
        async for item in self._table.query(condition, values, ConsistentRead=True):
            yield segment_entry_of(item)

    async def by_entity(
        self, entity_id: str, start: Instant | None, end: Instant | None
    ) -> AsyncIterator[Reservation]:
        if start is not None and end is not None and start >= end:
            return
        condition = "e = :e"
        values = {":e": {"S": entity_id}}
        if start is not None:
            values[":start"] = {"S": start.sort_text}
        if end is not None:
            values[":end"] = {"S": end.sort_text}
        if start is not None and end is not None:
            # both ends of BETWEEN belong to it, but no `t` is a bare time: the first at `end` is after it
            condition += " AND t BETWEEN :start AND :end"
        elif start is not None:
            condition += " AND t >= :start"
        elif end is not None:
            condition += " AND t < :end"
        async for item in self._table.query(condition, values, IndexName=BY_ENTITY):
            yield reservation_of(item)

    async def entries(self) -> AsyncIterator[Reservation]:
        async for item in self._table.scan("sk = :e", {":e": {"S": EVENT}}):
            yield reservation_of(item)

    async def acquire(self, lease: str, holder: str, now: Instant, seconds: float) -> bool:
        until = now.micros + round(seconds * 1_000_000)
        return await self._table.put_if(
            {"pk": {"S": LEASES}, "sk": {"S": lease}, "h": {"S": holder}, "u": {"N": str(until)}},
            "attribute_not_exists(pk) OR h = :h OR u <= :now",
            {":h": {"S": holder}, ":now": {"N": str(now.micros)}},
        )

    async def release(self, lease: str, holder: str) -> None:
        await self._table.delete_if(
            {"pk": {"S": LEASES}, "sk": {"S": lease}}, "h = :h", {":h": {"S": holder}}
        )

    async def put_mark(self, run: str, part: int, number: int, text: str) -> None:
        await self._table.put_if(
            mark_item(run, part, number, text),
            "attribute_not_exists(pk) OR n < :n",
            {":n": {"N": str(number)}},
        )

    async def marks(self, run: str) -> dict[int, str]:
        return dict([mark_of(item) async for item in self._marks(run)])

    async def drop_marks(self, run: str) -> None:
        parts = [mark_of(item)[0] async for item in self._marks(run)]
        deletes = [{"Delete": {"TableName": self._table.name, "Key": mark_key(run, part)}} for part in parts]
        for start in range(0, len(deletes), ACTIONS):
            await self._table.transact(deletes[start : start + ACTIONS])

    def _marks(self, run: str) -> AsyncIterator[Item]:
        return self._table.query("pk = :pk", {":pk": marks_key(run)["pk"]}, ConsistentRead=True)

    async def _put_if_absent(self, wanted: Sequence[Reservation]) -> list[Reservation]:
        """Those that met another entry.

        One repeat fails a whole transaction: where repeats come, all go by statements for a while.
        """
        if not self._transactions or len(wanted) < _TRANSACTED or self._careful > 0:
            self._careful = max(0, self._careful - len(wanted))
            return await self._each(wanted, STATEMENTS, self._state)
        return await self._each(wanted, ACTIONS, self._transact)

    async def _each(
        self,
        wanted: Sequence[Reservation],
        size: int,
        put: Callable[[Sequence[Reservation]], Awaitable[list[Reservation]]],
    ) -> list[Reservation]:
        batches = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        answers = await all_of([partial(put, batch) for batch in batches], _AT_ONCE)
        return [reservation for met in answers for reservation in met]

    async def _state(self, batch: Sequence[Reservation]) -> list[Reservation]:
        met = await self._table.insert(self._insert, [self._parameters(r) for r in batch])
        return [batch[position] for position in met]

    async def _transact(self, batch: Sequence[Reservation]) -> list[Reservation]:
        failed = frozenset(
            await self._table.transact([self._put(each, "attribute_not_exists(pk)") for each in batch])
        )
        if not failed:
            return []
        self._careful = _CAREFUL
        met = [each for position, each in enumerate(batch) if position in failed]
        others = [each for position, each in enumerate(batch) if position not in failed]
        return met + await self._each(others, STATEMENTS, self._state)

    async def _there(self, reservations: Sequence[Reservation]) -> dict[str, Reservation]:
        """The entries of the same event ids."""
        keys = [event_key(reservation.event_id) for reservation in reservations]
        batches = [keys[start : start + KEYS] for start in range(0, len(keys), KEYS)]
        answers = await all_of([partial(self._table.get_all, batch) for batch in batches], _AT_ONCE)
        there = [reservation_of(item) for items in answers for item in items]
        return {reservation.event_id: reservation for reservation in there}

    async def _put_where_older(self, winners: Sequence[Reservation]) -> None:
        """All at once, then again without those that are there already."""
        while winners:
            older = "attribute_not_exists(pk) OR v < :generation"
            failed = await self._table.transact(
                [
                    self._put(each, older, {":generation": {"S": generation_prefix(each.generation)}})
                    for each in winners
                ]
            )
            if not failed:
                return
            there = frozenset(failed)
            winners = [winner for position, winner in enumerate(winners) if position not in there]

    async def _put_segment_if(self, entry: SegmentEntry, condition: str, values: Item) -> None:
        item = self._expiring(segment_item(entry), entry.segment)
        check: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": GENERATION_KEY,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        failed = await self._table.transact(
            [{"ConditionCheck": check}, {"Put": {"TableName": self._table.name, "Item": item}}]
        )
        if failed:
            raise Fenced("the index is at another generation, or at another state of it")

    def _put(self, reservation: Reservation, condition: str, values: Item | None = None) -> dict[str, Any]:
        """A part of a transaction."""
        put = {
            "TableName": self._table.name,
            "Item": self._event(reservation),
            "ConditionExpression": condition,
        }
        return {"Put": put if values is None else {**put, "ExpressionAttributeValues": values}}

    def _parameters(self, reservation: Reservation) -> list[Item]:
        values = event_parameters(reservation)
        if self._retention_days is not None:
            values.append(expiry(reservation.segment, self._retention_days))
        return values

    def _event(self, reservation: Reservation) -> Item:
        return self._expiring(event_item(reservation), reservation.segment)

    def _expiring(self, item: Item, segment: SegmentID) -> Item:
        if self._retention_days is None:
            return item
        return {**item, TIME_TO_LIVE: expiry(segment, self._retention_days)}
