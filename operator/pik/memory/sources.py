"""Queues, streams, rules and mappings in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from pik.memory.hooks import Hook, unhooked
from pik.planning.functions import ALIAS
from pik.planning.sources import (
    CreateMapping,
    CreateQueue,
    CreateStream,
    DeleteMapping,
    KeepLonger,
    Mapping,
    ObservedMapping,
    ObservedQueue,
    ObservedRule,
    ObservedStream,
    PauseMapping,
    PutRule,
    Queue,
    SetQueue,
    SourceAction,
    StopRule,
    TagStream,
    UpdateMapping,
)

_ACCOUNT = "us-east-1:000000000000"


@dataclass
class MemoryPipes:
    """What there is, by name; mappings by id, each with the ARN of its function. Tests may change it."""

    queues: dict[str, ObservedQueue] = field(default_factory=dict)
    streams: dict[str, ObservedStream] = field(default_factory=dict)
    rules: dict[tuple[str, str], ObservedRule] = field(default_factory=dict)  # by bus and name
    mappings: dict[str, tuple[str, ObservedMapping]] = field(default_factory=dict)
    made: int = 0


class MemorySources:
    """`ports.SourceProvisioner` over `MemoryPipes`."""

    def __init__(self, pipes: MemoryPipes, before: Hook = unhooked) -> None:
        self._pipes = pipes
        self._before = before

    async def queue(self, name: str) -> ObservedQueue | None:
        await self._before("sources.queue")
        return self._pipes.queues.get(name)

    async def stream(self, name: str) -> ObservedStream | None:
        await self._before("sources.stream")
        return self._pipes.streams.get(name)

    async def rule(self, name: str, bus: str) -> ObservedRule | None:
        await self._before("sources.rule")
        return self._pipes.rules.get((bus, name))

    async def mappings(self, function: str) -> list[ObservedMapping]:
        await self._before("sources.mappings")
        ours = f":{function}:{ALIAS}"
        return [mapping for arn, mapping in self._pipes.mappings.values() if arn.endswith(ours)]

    async def apply(self, action: SourceAction) -> None:
        await self._before("sources.apply")
        pipes = self._pipes
        match action:
            case CreateQueue(queue=queue) | SetQueue(queue=queue):
                pipes.queues[queue.name] = _queue(queue)
            case CreateStream():
                arn = f"arn:aws:kinesis:{_ACCOUNT}:stream/{action.name}"
                pipes.streams.setdefault(action.name, ObservedStream(arn, {}, 24))
            case TagStream():
                there_is = pipes.streams[action.name]
                tags = {**there_is.tags, **action.tags}
                pipes.streams[action.name] = msgspec.structs.replace(there_is, tags=tags)
            case KeepLonger():
                there_is = pipes.streams[action.name]
                pipes.streams[action.name] = msgspec.structs.replace(there_is, retention_hours=action.hours)
            case StopRule():
                known = pipes.rules.get((action.bus, action.name))
                if known is not None:
                    stopped = msgspec.structs.replace(known, enabled=False)
                    pipes.rules[action.bus, action.name] = stopped
            case PutRule(rule=rule):
                arn = f"arn:aws:events:{_ACCOUNT}:rule/{rule.name}"
                there = ObservedRule(arn, rule.pattern, rule.enabled, (rule.queue,), rule.tags)
                pipes.rules[rule.bus, rule.name] = there
            case CreateMapping(mapping=mapping):
                pipes.made += 1
                id_ = f"00000000-0000-0000-0000-{pipes.made:012}"
                pipes.mappings[id_] = (mapping.function, _mapping(id_, mapping))
            case UpdateMapping(mapping=mapping):
                function, _ = pipes.mappings[action.id]
                pipes.mappings[action.id] = (function, _mapping(action.id, mapping))
            case PauseMapping():
                function, there_was = pipes.mappings[action.id]
                paused = msgspec.structs.replace(there_was, enabled=False)
                pipes.mappings[action.id] = (function, paused)
            case DeleteMapping():
                pipes.mappings.pop(action.id, None)
            case _:
                assert_never(action)

    async def delete_rule(self, name: str, bus: str) -> None:
        await self._before("sources.delete_rule")
        self._pipes.rules.pop((bus, name), None)

    async def delete_queue(self, name: str) -> None:
        await self._before("sources.delete_queue")
        self._pipes.queues.pop(name, None)

    async def delete_stream(self, name: str) -> None:
        await self._before("sources.delete_stream")
        self._pipes.streams.pop(name, None)


def _queue(queue: Queue) -> ObservedQueue:
    return ObservedQueue(
        f"https://sqs.us-east-1.amazonaws.com/000000000000/{queue.name}",
        f"arn:aws:sqs:{_ACCOUNT}:{queue.name}",
        queue.visibility_seconds,
        queue.retention_seconds,
        queue.tags,
        queue.dead_letters,
        queue.max_receive_count,
        () if queue.rule is None else (queue.rule,),
    )


def _mapping(id_: str, mapping: Mapping) -> ObservedMapping:
    return ObservedMapping(id_, mapping.source, mapping.batch_size, mapping.enabled, mapping.partial)
