"""What a replay is made of: the fields of a ReplayJob that determine every event to be sent and its order,
in one canonical form, and the identity of its run (design: section 3, S fields; law 6)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson
import rfc8785

from pik.api.replay_job import Duplicates, ErrorAction, Order, ReplayJobSpec, StaleAction, TimeField
from pik.api.targets import Invocation, S3Format, Target, TargetType
from pik.domain.instants import parse_instant
from pik.domain.transform import Action, Rule
from pik.domain.windows import Window

_AWS_HOST = re.compile(r"\b([a-z]{2}(?:-[a-z]+)+-[0-9]+)\..*amazonaws\.com")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class TargetAddress(msgspec.Struct, frozen=True):
    """Where a replay sends to, as one address: the queue's URL, the endpoint's URL, `s3://bucket/prefix`, or
    the ARN or name of what AWS names so."""

    type: TargetType
    address: str
    format: S3Format | None = None  # of S3
    secret: str | None = None  # name of the Secret, in the job's namespace, that an endpoint is shown
    source: str | None = None  # of an event bus: what its rules see; None: each event's own
    detail_type: str | None = None  # the same
    invocation: Invocation | None = None  # of a function
    batch: int | None = None  # of a function: most events of one call
    headers: tuple[str, ...] | None = None  # names of kept ones that an endpoint is sent again

    @property
    def place(self) -> str:
        """The same for every way in which the address may be written that may lead there: case of the host,
        the scheme's own port, an ARN or the name in it."""
        if "://" not in self.address:
            named = self.address.split(":function:")[-1].rsplit("/", 1)[-1]
            return f"{self.type} {named.split(':')[0]}"
        parts = urlsplit(self.address)
        if not parts.hostname:
            return f"{self.type} {self.address}"
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower())
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.type} {parts.scheme.lower()}://{parts.hostname}:{port or ''}{parts.path or '/'}{query}"

    @property
    def is_fifo(self) -> bool:
        """Whether it is a queue that keeps the order of a message group."""
        return self.type is TargetType.SQS and self.address.endswith(".fifo")

    @property
    def region(self) -> str | None:
        """That of an ARN or a queue's URL; None: the one that pik works in."""
        if self.address.startswith("arn:"):
            return self.address.split(":")[3]
        if self.type is TargetType.SQS:
            host = _AWS_HOST.search(urlsplit(self.address).hostname or "")
            return None if host is None else host[1]
        return None


class ReplaySpec(msgspec.Struct, frozen=True):
    """The S fields. Instants are fixed-width UTC text, sets are sorted, defaults are filled in: two jobs that
    select and send the same in the same way have equal values here."""

    stream: str  # namespace/name
    time_field: TimeField
    start: str
    end: str
    entities: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    event_types: tuple[str, ...] | None
    where: str | None  # as written
    duplicates: Duplicates
    limit: int | None
    target: TargetAddress
    order: Order
    shards: int
    on_error: ErrorAction
    dead_letter: str | None  # URL of the queue
    on_stale: StaleAction
    retries_per_shard: int
    transform: tuple[Rule, ...] = ()

    @property
    def hashes(self) -> bool:
        """Whether any value is replaced by its hash."""
        return any(rule.action is Action.HASH for rule in self.transform)

    @property
    def window(self) -> Window:
        return Window(parse_instant(self.start), parse_instant(self.end))

    @property
    def canonical(self) -> dict[str, Any]:
        """JSON values, for hashing. A field that came later is left out where it is absent: what was hashed
        before has the same hash."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        for field in ("secret", "source", "detail_type", "invocation", "batch", "headers"):
            if values["target"][field] is None:
                del values["target"][field]
        if not self.transform:
            del values["transform"]
        return values

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the RFC 8785 form: what a run record remembers of its job."""
        return sha256(rfc8785.dumps(self.canonical)).hexdigest()


def replay_spec(job: ReplayJobSpec, namespace: str) -> ReplaySpec:
    """The S fields of a job in this namespace. Raises ValueError for a window that does not end after it
    begins."""
    select = job.select
    window = Window(parse_instant(select.window.from_), parse_instant(select.window.to))
    return ReplaySpec(
        stream=f"{job.streamRef.namespace or namespace}/{job.streamRef.name}",
        time_field=select.window.field,
        start=window.start.text,
        end=window.end.text,
        entities=_set(select.entities),
        sources=_set(select.sources),
        event_types=_set(select.eventTypes),
        where=select.where,
        duplicates=select.duplicates,
        limit=select.limit,
        target=target_address(job.target),
        order=job.order,
        shards=job.shards,
        on_error=job.onError.action,
        dead_letter=None if job.onError.deadLetter is None else job.onError.deadLetter.queueURL,
        on_stale=job.onStale,
        retries_per_shard=job.retriesPerShard,
        transform=tuple(Rule(each.path, each.action) for each in job.transform or ()),
    )


def order_caveat(spec: ReplaySpec) -> str | None:
    """What a status says where a target keeps less order than a reader of the spec would expect."""
    if spec.target.type is TargetType.SQS and not spec.target.is_fifo:
        return "a standard queue keeps no order: events are sent in order and may be received in another"
    if spec.target.type is TargetType.EVENT_BRIDGE:
        return "an event bus keeps no order: events are sent in order and may be received in another"
    if spec.target.invocation is Invocation.EVENT:
        return (
            "a function that is not waited for keeps no order, and what becomes of a batch is not seen here"
        )
    if spec.target.is_fifo and spec.order is not Order.ENTITY_TIME:
        return f"a FIFO queue keeps each entity's order; {spec.order} across entities is that of sending only"
    if spec.target.type is TargetType.KINESIS and spec.order is not Order.ENTITY_TIME:
        return f"a data stream keeps each shard's order; {spec.order} across shards is that of sending only"
    return None


def target_address(target: Target) -> TargetAddress:
    """The member of the target that its type names. Raises ValueError where there is none."""
    if target.type is TargetType.SQS and target.sqs is not None:
        return TargetAddress(TargetType.SQS, target.sqs.queueURL)
    if target.type is TargetType.HTTP and target.http is not None:
        secret = None if target.http.secretRef is None else target.http.secretRef.name
        return TargetAddress(
            TargetType.HTTP, target.http.url, secret=secret, headers=_set(target.http.headers)
        )
    if target.type is TargetType.S3 and target.s3 is not None:
        place = f"s3://{target.s3.bucket}/{target.s3.prefix}"
        return TargetAddress(TargetType.S3, place, target.s3.format)
    if target.type is TargetType.KINESIS and target.kinesis is not None:
        return TargetAddress(TargetType.KINESIS, target.kinesis.streamARN or target.kinesis.streamName or "")
    if target.type is TargetType.EVENT_BRIDGE and target.eventBridge is not None:
        bus = target.eventBridge
        return TargetAddress(
            TargetType.EVENT_BRIDGE,
            bus.eventBusARN or bus.eventBusName or "",
            source=bus.source,
            detail_type=bus.detailType,
        )
    if target.type is TargetType.LAMBDA and target.lambda_ is not None:
        function = target.lambda_
        return TargetAddress(
            TargetType.LAMBDA,
            function.functionARN or function.functionName or "",
            invocation=function.invocation,
            batch=function.batchSize,
        )
    raise ValueError(f"a target of type {target.type} without its member")


def run_id(stream_id: str, namespace: str, name: str, run_key: str) -> str:
    """A run's identity, SHA-256 (hex), whatever becomes of the object that asked for it (law 6)."""
    return sha256(orjson.dumps(["pik/1", "run", stream_id, namespace, name, run_key])).hexdigest()


def _set(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(sorted(set(values)))
