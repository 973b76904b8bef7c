"""What is kept where who computes is not who asks, so that each finds what the other left; all of it created
conditionally and never changed.

Under `aggregates/`:
- `definitions/<definition hash>.json`: what is asked;
- `answers/<hash>.json`: the version that answered a manifest;
- `<version>/differences/<hash>.json`: its difference from another version, in numbers.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import msgspec
import orjson

from pik.api.aggregate_version import KnownBy
from pik.domain.errors import AlreadyExists, NoSuchObject, Tampered
from pik.execution.aggregate.records import Answer, AsOf, read_record
from pik.execution.stream import Stream
from pik.planning.definitions import Definition


class Asking(msgspec.Struct, frozen=True):
    """Which manifest asks, and what: that has one answer, for good. `as_of`: as its spec has it."""

    namespace: str
    name: str
    definition_hash: str
    known_by: KnownBy
    as_of: str | None


class Answered(msgspec.Struct, frozen=True):
    """`answers/<hash>.json`"""

    version: str
    as_of: AsOf


class DifferenceRecord(msgspec.Struct, frozen=True):
    """`<version>/differences/<hash>.json`: of `after`, the version, from `before`; rows, and events by what
    became of them (design: Definitions, Difference)."""

    before: str
    after: str
    rows_changed: int
    late: int
    duplicates: int
    conflicts: int
    missing: int
    new: int


async def keep_definition(stream: Stream, definition: Definition) -> None:
    """For whoever is to compute it and knows its hash."""
    with suppress(AlreadyExists):
        await stream.objects.create(_definition_key(stream, definition.hash), msgspec.json.encode(definition))


async def read_definition(stream: Stream, definition_hash: str) -> Definition:
    """Raises NoSuchObject, and Tampered where what is kept has another hash."""
    stored = await stream.objects.read(_definition_key(stream, definition_hash))
    definition = msgspec.json.decode(stored.body, type=Definition)
    if definition.hash != definition_hash:
        raise Tampered(f"the definition {definition_hash} is not what its hash was made of")
    return definition


async def keep_answer(stream: Stream, asking: Asking, answer: Answer) -> None:
    """What was first kept stays."""
    with suppress(AlreadyExists):
        record = Answered(answer.version, answer.as_of)
        await stream.objects.create(_answer_key(stream, asking), msgspec.json.encode(record))


async def find_answer(stream: Stream, asking: Asking) -> Answer | None:
    """The answer that is kept, or None. Raises NoSuchObject where its version is gone."""
    try:
        stored = await stream.objects.read(_answer_key(stream, asking))
    except NoSuchObject:
        return None
    answered = msgspec.json.decode(stored.body, type=Answered)
    return Answer(await read_record(stream, answered.version), answered.as_of)


async def keep_difference(stream: Stream, before: Answer, after: Answer, record: DifferenceRecord) -> None:
    """What was first kept stays."""
    with suppress(AlreadyExists):
        await stream.objects.create(_difference_key(stream, before, after), msgspec.json.encode(record))


async def find_difference(stream: Stream, before: Answer, after: Answer) -> DifferenceRecord | None:
    """The difference of these two, as known when they were, that is kept; or None."""
    try:
        stored = await stream.objects.read(_difference_key(stream, before, after))
    except NoSuchObject:
        return None
    return msgspec.json.decode(stored.body, type=DifferenceRecord)


def _definition_key(stream: Stream, definition_hash: str) -> str:
    return f"{stream.layout.aggregates}definitions/{definition_hash}.json"


def _answer_key(stream: Stream, asking: Asking) -> str:
    return f"{stream.layout.aggregates}answers/{_hash(msgspec.to_builtins(asking))}.json"


def _difference_key(stream: Stream, before: Answer, after: Answer) -> str:
    known = [before.version, msgspec.to_builtins(before.as_of), msgspec.to_builtins(after.as_of)]
    return f"{stream.layout.aggregates}{after.version}/differences/{_hash(known)}.json"


def _hash(identity: object) -> str:
    return sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()
