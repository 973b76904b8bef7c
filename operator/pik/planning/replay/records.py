"""What a run leaves in the bucket, created conditionally and never changed (design: Run protocol).

    runs/<run id>/plans/<plan hash>.json        a dry run's plan
    runs/<run id>/run.json                      the run: before the first send
    runs/<run id>/shards/0000/00000000.intent.json      before a chunk is sent
    runs/<run id>/shards/0000/00000000.intent.1.json    before it is sent again, and so on
    runs/<run id>/shards/0000/00000000.outcome.ndjson   after it: a head, then the ledger's lines
    runs/<run id>/shards/0000/end.json          the shard is done, or failed for good
    runs/<run id>/end.json                      the run is over: nothing is sent any more
    runs/<run id>/comparison.json               what its target was found to have

Instants are fixed-width UTC text.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pik.api.conditions import Reason
from pik.planning.delivery_key import delivery_key

MAX_FAILURES = 10


class RunRecord(msgspec.Struct, frozen=True):
    """That this run was begun, with which plan (law 6)."""

    run_id: str
    stream_id: str
    namespace: str
    name: str
    run_key: str
    spec_digest: str
    plan_hash: str
    approved_by: str | None
    started: str
    nonce: str  # tells the creator, whose answer was lost, from another
    hash_key: str | None = None  # SHA-256 (hex) of the key that values are hashed with


class Intent(msgspec.Struct, frozen=True):
    """That a chunk is about to be sent. Without an outcome beside it, nobody knows how much of it was. A
    chunk with more than one was in doubt, whoever wrote its outcome in the end."""

    chunk: int
    start: int  # position in the shard's order of its first event
    count: int
    first_event_id: str
    last_event_id: str
    holder: str
    at: str


class Result(StrEnum):
    """What became of an event."""

    SENT = "sent"  # the target confirmed it
    FAILED = "failed"  # the target refused it for good
    HELD = "held"  # not sent: an earlier event of its entity failed
    SKIPPED = "skipped"  # not sent: its entity has newer events outside the slice


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One event of a shard. `answer`: the target's own words, shortened; `reason`: one
    CamelCase word, of one that failed. `attempts` above 1: a first answer
    was lost or asked for another try, so that the target may have seen it before."""

    position: int
    event_id: str
    entity_id: str
    result: Result
    key: str = ""  # what the target can tell repeats by; stored where it is not the event's own in its run
    answer: str = ""
    reason: str = ""
    attempts: int = 1
    dead_lettered: bool = False


class Failure(msgspec.Struct, frozen=True):
    event_id: str
    reason: str  # one CamelCase word
    message: str


class Totals(msgspec.Struct, frozen=True):
    """Events of a shard or a run by what became of them; `bytes`: of the payloads sent."""

    sent: int = 0
    failed: int = 0
    held: int = 0
    skipped: int = 0
    bytes: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.sent + other.sent,
            self.failed + other.failed,
            self.held + other.held,
            self.skipped + other.skipped,
            self.bytes + other.bytes,
        )

    @property
    def settled(self) -> int:
        """Events of which it is known what became of them."""
        return self.sent + self.failed + self.held + self.skipped


class Repeats(StrEnum):
    """What a target's own deduplication could do about a chunk that was in doubt."""

    DROPPED = "dropped"  # it was sent again, to its end, within the time that the target remembers
    POSSIBLE = "possible"  # it was not, or nobody knows
    BY_KEY = "by key"  # only if the target remembers the keys of its messages


class ChunkHead(msgspec.Struct, frozen=True):
    """The first line of an outcome. Totals and failures are the shard's up to here."""

    shard: int
    chunk: int
    start: int
    count: int
    began: str
    ended: str
    holder: str
    totals: Totals
    failures: tuple[Failure, ...]  # the first MAX_FAILURES of the shard
    newly_held: tuple[str, ...]  # entities that failed in this chunk, with onError HoldEntity
    held_before: int | None  # the chunk before this one that has any
    in_doubt: bool = False  # it was begun before, by a worker that left no outcome
    repeats: Repeats | None = None  # of a chunk in doubt
    stopped: bool = False  # it ended early: nothing after the first failure was begun


class EndState(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class End(msgspec.Struct, frozen=True):
    """How a shard or a run ended, for good."""

    state: EndState
    reason: Reason
    message: str
    at: str
    totals: Totals
    failures: tuple[Failure, ...]


class Comparison(msgspec.Struct, frozen=True):
    """What was found at the target of a run that had ended. `missing`: sent and not there as it was sent.
    `extra`: there under the run's name and not sent. `repeats`: there more often than sent."""

    at: str
    expected: int
    found: int
    missing: int
    extra: int
    repeats: int
    examples: tuple[str, ...]  # event ids of some that are missing

    @property
    def matches(self) -> bool:
        """Repeats are allowed: delivery is at least once."""
        return self.missing == self.extra == 0


class RunKeys(msgspec.Struct, frozen=True):
    """Keys under `root`, which is `runs/<run id>/`."""

    root: str

    @property
    def record(self) -> str:
        return f"{self.root}run.json"

    @property
    def end(self) -> str:
        return f"{self.root}end.json"

    @property
    def comparison(self) -> str:
        return f"{self.root}comparison.json"

    def plan(self, plan_hash: str) -> str:
        return f"{self.root}plans/{plan_hash}.json"

    def shard(self, shard: int) -> str:
        return f"{self.root}shards/{shard:04d}/"

    def shard_end(self, shard: int) -> str:
        return f"{self.shard(shard)}end.json"

    def intent(self, shard: int, chunk: int, attempt: int = 0) -> str:
        again = f".{attempt}" if attempt else ""
        return f"{self.shard(shard)}{chunk:08d}.intent{again}.json"

    def outcome(self, shard: int, chunk: int) -> str:
        return f"{self.shard(shard)}{chunk:08d}.outcome.ndjson"


def encode_outcome(head: ChunkHead, ledger: memoryview) -> bytes:
    """NDJSON: the head, then the ledger's lines."""
    return b"".join((msgspec.json.encode(head), b"\n", ledger))


def decode_head(body: bytes) -> ChunkHead:
    """The head of an outcome."""
    return msgspec.json.decode(body[: body.index(b"\n")], type=ChunkHead)


def decode_outcome(body: bytes, run_id: str) -> tuple[ChunkHead, list[LedgerEntry]]:
    """The head and every line, with its key."""
    first = body.index(b"\n") + 1
    stored = msgspec.json.Decoder(LedgerEntry).decode_lines(body[first:])
    entries = [
        entry if entry.key else msgspec.structs.replace(entry, key=delivery_key(entry.event_id, run_id))
        for entry in stored
    ]
    return decode_head(body), entries
