"""What has to be done so that a stream's function is fed by its sources. Pure.

A queue that pik makes has a dead-letter queue, and a message that was not taken is hidden for six times the
function's timeout, as AWS advises (docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html).
"""

from __future__ import annotations

import msgspec

from pik.api.sources import StartingPosition
from pik.domain.errors import Unusable
from pik.planning.drift import Difference
from pik.planning.functions import check_owner
from pik.planning.storage import STREAM_TAG, Names, readable

HIDDEN = 6
"""Times a function's timeout for which a message is hidden while it is worked on."""

DEAD = "_dlq"
"""What the name of a dead-letter queue ends with, and no source's name."""

REPLAY_QUEUE = "replay_queue"
"""Of processing, in the place of a source's name; no name that a source can have."""

RETENTION = 604_800
DEAD_RETENTION = 1_209_600
"""Seconds that a queue and a dead-letter queue of pik's keep what nobody takes: 7 and 14 days, the most there
is. A message's age counts from when it was sent first, in the second queue too."""

STREAM_RETENTION = 168
"""Hours that a Kinesis stream of pik's keeps its records."""

_NAME = 80  # characters of a queue's name
_SHARE_BATCH = 10  # messages of a batch that need no window to be gathered in
_WINDOW = 1  # seconds


class Queue(msgspec.Struct, frozen=True):
    """A queue as it is wanted. `dead_letters`: the ARN of the queue that gets what was tried
    `max_receive_count` times; None: none does. `rule`: the ARN of the rule that may send to it."""

    name: str
    visibility_seconds: int
    tags: dict[str, str]
    dead_letters: str | None = None
    max_receive_count: int = 0
    rule: str | None = None
    retention_seconds: int = RETENTION


class ObservedQueue(msgspec.Struct, frozen=True):
    url: str
    arn: str
    visibility_seconds: int
    retention_seconds: int
    tags: dict[str, str]
    dead_letters: str | None = None
    max_receive_count: int = 0
    rules: tuple[str, ...] = ()  # ARNs of rules that may send to it


class Mapping(msgspec.Struct, frozen=True):
    """An event source mapping as it is wanted. `function`: ARN with its alias. `starting_position`: of a
    Kinesis stream, None of a queue."""

    source: str  # ARN
    function: str
    batch_size: int
    enabled: bool
    starting_position: StartingPosition | None = None

    @property
    def partial(self) -> bool:
        """Whether it takes a part of a batch for an answer. Of Kinesis it does not: a batch of which a record
        is not taken comes again, in halves, so that nothing depends on who reads what was said."""
        return self.starting_position is None

    @property
    def window_seconds(self) -> int:
        return 0 if self.batch_size <= _SHARE_BATCH or self.starting_position is not None else _WINDOW


class ObservedMapping(msgspec.Struct, frozen=True):
    """`partial`: whether it takes a part of a batch for an answer."""

    id: str
    source: str
    batch_size: int
    enabled: bool
    partial: bool


class Rule(msgspec.Struct, frozen=True):
    """A rule of EventBridge as it is wanted: what matches goes to the queue."""

    name: str
    bus: str
    pattern: str  # JSON
    queue: str  # ARN
    enabled: bool
    tags: dict[str, str]


class ObservedRule(msgspec.Struct, frozen=True):
    arn: str
    pattern: str
    enabled: bool
    targets: tuple[str, ...]  # ARNs
    tags: dict[str, str]


class ObservedStream(msgspec.Struct, frozen=True):
    """Of Kinesis."""

    arn: str
    tags: dict[str, str]
    retention_hours: int


# Actions. Each may be done again.


class CreateQueue(msgspec.Struct, frozen=True, tag=True):
    queue: Queue


class SetQueue(msgspec.Struct, frozen=True, tag=True):
    """Its settings, and its tags."""

    url: str
    queue: Queue


class CreateMapping(msgspec.Struct, frozen=True, tag=True):
    mapping: Mapping


class UpdateMapping(msgspec.Struct, frozen=True, tag=True):
    id: str
    mapping: Mapping


class PauseMapping(msgspec.Struct, frozen=True, tag=True):
    id: str


class DeleteMapping(msgspec.Struct, frozen=True, tag=True):
    id: str


class PutRule(msgspec.Struct, frozen=True, tag=True):
    """With its target, and without any other."""

    rule: Rule


class CreateStream(msgspec.Struct, frozen=True, tag=True):
    name: str
    tags: dict[str, str]


class TagStream(msgspec.Struct, frozen=True, tag=True):
    name: str
    tags: dict[str, str]


class KeepLonger(msgspec.Struct, frozen=True, tag=True):
    """What comes in a stream."""

    name: str
    hours: int


class StopRule(msgspec.Struct, frozen=True, tag=True):
    """It sends nothing any more."""

    name: str
    bus: str


SourceAction = (
    CreateQueue
    | SetQueue
    | CreateMapping
    | UpdateMapping
    | PauseMapping
    | DeleteMapping
    | PutRule
    | CreateStream
    | TagStream
    | KeepLonger
    | StopRule
)


class Place(msgspec.Struct, frozen=True):
    """Where ARNs are of, as another ARN of it says."""

    partition: str
    region: str
    account: str

    def queue(self, name: str) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"

    def stream(self, name: str) -> str:
        return f"arn:{self.partition}:kinesis:{self.region}:{self.account}:stream/{name}"

    def rule(self, name: str, bus: str) -> str:
        at = f"arn:{self.partition}:events:{self.region}:{self.account}:rule/"
        return f"{at}{name}" if bus == "default" else f"{at}{bus}/{name}"


def place_of(arn: str) -> Place:
    _, partition, _, region, account, *_ = arn.split(":")
    return Place(partition, region, account)


def source_name(names: Names, stream_id: str, source: str, end: str = "") -> str:
    """Of a queue, a rule or a Kinesis stream: the same every time, and no other stream's."""
    tail = f"-{stream_id[:12]}-{source}{end}"
    return f"pik-{readable(f'{names.namespace}-{names.name}', _NAME - 4 - len(tail))}{tail}"


def queue_differences(wanted: Queue, observed: ObservedQueue | None) -> list[Difference[SourceAction]]:
    """Raises `OwnershipConflict`."""
    if observed is None:
        return [Difference(wanted.name, "queue", CreateQueue(wanted))]
    check_owner(wanted.name, wanted.tags, observed.tags)
    right = {
        "visibilityTimeout": observed.visibility_seconds == wanted.visibility_seconds,
        "messageRetentionPeriod": observed.retention_seconds == wanted.retention_seconds,
        "redrivePolicy": (observed.dead_letters, observed.max_receive_count)
        == (wanted.dead_letters, wanted.max_receive_count),
        "policy": observed.rules == (() if wanted.rule is None else (wanted.rule,)),
        "tags": wanted.tags.items() <= observed.tags.items(),
    }
    wrong = [field for field, is_right in right.items() if not is_right]
    return [Difference(wanted.name, field, SetQueue(observed.url, wanted)) for field in wrong]


def check_attached(queue: ObservedQueue, timeout_seconds: int) -> None:
    """Of a queue that somebody else made. Raises `Unusable`."""
    least = HIDDEN * timeout_seconds
    if queue.visibility_seconds < least:
        raise Unusable(
            f"{queue.arn} hides a message for {queue.visibility_seconds} s while it is worked on: set its "
            f"visibility timeout to {least} s or more, which is {HIDDEN} times the function's timeoutSeconds"
        )
    if queue.dead_letters is None:
        raise Unusable(
            f"{queue.arn} has no dead-letter queue: what is not taken would be tried until it expires, and "
            "then be lost. Give it a redrive policy"
        )


def mapping_differences(wanted: Mapping, observed: ObservedMapping | None) -> list[Difference[SourceAction]]:
    if observed is None:
        return [Difference(wanted.source, "eventSourceMapping", CreateMapping(wanted))]
    right = {
        "batchSize": observed.batch_size == wanted.batch_size,
        "enabled": observed.enabled == wanted.enabled,
        "functionResponseTypes": observed.partial == wanted.partial,
    }
    wrong = [field for field, is_right in right.items() if not is_right]
    return [Difference(wanted.source, field, UpdateMapping(observed.id, wanted)) for field in wrong]


def rule_differences(wanted: Rule, observed: ObservedRule | None) -> list[Difference[SourceAction]]:
    """Raises `OwnershipConflict`."""
    if observed is None:
        return [Difference(wanted.name, "rule", PutRule(wanted))]
    check_owner(wanted.name, wanted.tags, observed.tags)
    right = {
        "eventPattern": _said(observed.pattern) == _said(wanted.pattern),
        "state": observed.enabled == wanted.enabled,
        "targets": observed.targets == (wanted.queue,),
        "tags": wanted.tags.items() <= observed.tags.items(),
    }
    wrong = [field for field, is_right in right.items() if not is_right]
    return [Difference(wanted.name, field, PutRule(wanted)) for field in wrong]


def _said(pattern: str) -> object:
    """Whatever the spaces in it."""
    try:
        return msgspec.json.decode(pattern)
    except msgspec.DecodeError:
        return pattern


def stream_differences(
    name: str, tags: dict[str, str], observed: ObservedStream | None
) -> list[Difference[SourceAction]]:
    """One without our tags was made a moment ago: its name is no other's. Raises `OwnershipConflict`."""
    if observed is None:
        return [
            Difference(name, "stream", CreateStream(name, tags)),
            *stream_differences(name, tags, _UNTAGGED),
        ]
    if STREAM_TAG in observed.tags:
        check_owner(name, tags, observed.tags)
    differences: list[Difference[SourceAction]] = []
    if not tags.items() <= observed.tags.items():
        differences.append(Difference(name, "tags", TagStream(name, tags)))
    if observed.retention_hours < STREAM_RETENTION:
        differences.append(Difference(name, "retentionPeriod", KeepLonger(name, STREAM_RETENTION)))
    return differences


_UNTAGGED = ObservedStream("", {}, 24)
