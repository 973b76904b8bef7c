"""Part failures: the entries that fail are taken out of the request before it is forwarded, and put into the
answer as failed. What the service keeps is then what a service keeps that failed them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import orjson

from faults.calls import Answer, Call


@dataclass(frozen=True, slots=True)
class _Batch:
    """Where a batch call has its entries, and how its answer tells one that failed."""

    entries: str  # in the request
    code: str  # by default
    failed: Callable[[Any, str], Any]  # from the entry and the code to its place in the answer


def _by_place(_: Any, code: str) -> Any:
    return {"ErrorCode": code, "ErrorMessage": "failed by the fault proxy"}


def _by_id(entry: Any, code: str) -> Any:
    sender = code not in ("InternalError", "ServiceUnavailable")
    return {"Id": entry["Id"], "Code": code, "Message": "failed by the fault proxy", "SenderFault": sender}


_BATCHES = {
    "events.PutEvents": _Batch("Entries", "InternalFailure", _by_place),
    "kinesis.PutRecords": _Batch("Records", "ProvisionedThroughputExceededException", _by_place),
    "sqs.DeleteMessageBatch": _Batch("Entries", "InternalError", _by_id),
    "sqs.SendMessageBatch": _Batch("Entries", "InternalError", _by_id),
}
OPERATIONS = frozenset(_BATCHES)
"""Those that can fail in part."""


@dataclass(frozen=True, slots=True)
class Split:
    """A batch call's request in two. `rest`: the body to forward; None where nothing is left of it."""

    call: Call
    entries: list[Any]
    failing: frozenset[int]
    code: str
    rest: bytes | None

    def answer(self, of_rest: Answer | None) -> Answer:
        """The whole answer, from the service's to the rest. An error of the service stays as it is."""
        if of_rest is not None and of_rest.status != 200:
            return of_rest
        told: dict[str, Any] = {} if of_rest is None else orjson.loads(of_rest.body)
        failed = _BATCHES[self.call.name].failed
        if self.call.service == "sqs":
            lost = [failed(self.entries[n], self.code) for n in sorted(self.failing)]
            told = {**told, "Successful": told.get("Successful", []), "Failed": told.get("Failed", []) + lost}
        else:
            key, count = ("Records" if self.call.service == "kinesis" else "Entries"), len(self.failing)
            taken = iter(told.get(key, []))
            told[key] = [
                failed(entry, self.code) if n in self.failing else next(taken)
                for n, entry in enumerate(self.entries)
            ]
            counter = "FailedRecordCount" if self.call.service == "kinesis" else "FailedEntryCount"
            told[counter] = told.get(counter, 0) + count
        body = orjson.dumps(told)
        kind = b"application/x-amz-json-1.1"
        return Answer(200, [(b"Content-Type", kind), (b"Content-Length", str(len(body)).encode())], body)


def split(call: Call, body: bytes, failing: Collection[int], code: str | None) -> Split:
    """`failing`: positions of the entries that fail; those that there are not do not matter."""
    batch = _BATCHES[call.name]
    asked = orjson.loads(body)
    entries = asked[batch.entries]
    chosen = frozenset(n for n in failing if n < len(entries))
    kept = [entry for n, entry in enumerate(entries) if n not in chosen]
    rest = orjson.dumps({**asked, batch.entries: kept}) if kept else None
    return Split(call, entries, chosen, code or batch.code, rest)
