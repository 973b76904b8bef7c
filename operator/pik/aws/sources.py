"""Queues, Kinesis streams, rules of EventBridge and event source mappings, read back and set right."""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from pik.api.sources import StartingPosition
from pik.aws.errors import call, is_code
from pik.domain.errors import PikError, Unavailable
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
    Rule,
    SetQueue,
    SourceAction,
    StopRule,
    TagStream,
    UpdateMapping,
)
from pik.ports.system import Offload

_NOT_FOUND = (
    "ResourceNotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
)
_POSITIONS = {StartingPosition.TRIM_HORIZON: "TRIM_HORIZON", StartingPosition.LATEST: "LATEST"}
_MOVING = ("Creating", "Updating", "Enabling", "Disabling", "Deleting")
_PARTIAL = "ReportBatchItemFailures"
_TARGET = "pik"  # id of a rule's target
_STATEMENT = "pik-rule"


class AwsSources:
    """`ports.SourceProvisioner`. The clients are of the services lambda, sqs, kinesis and events."""

    def __init__(self, functions: Any, sqs: Any, kinesis: Any, events: Any, io: Offload) -> None:
        self._functions = functions
        self._sqs = sqs
        self._kinesis = kinesis
        self._events = events
        self._io = io

    async def queue(self, name: str) -> ObservedQueue | None:
        address = await self._found(self._sqs.get_queue_url, QueueName=name)
        if address is None:
            return None
        url = address["QueueUrl"]
        found = await self._found(self._sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
        if found is None:
            return None
        there = found["Attributes"]
        tags = await call(self._io, self._sqs.list_queue_tags, QueueUrl=url)
        redrive = msgspec.json.decode(there.get("RedrivePolicy") or "{}")
        return ObservedQueue(
            url,
            there["QueueArn"],
            int(there["VisibilityTimeout"]),
            int(there.get("MessageRetentionPeriod", 0)),
            tags.get("Tags", {}),
            redrive.get("deadLetterTargetArn"),
            int(redrive.get("maxReceiveCount", 0)),
            _rules(there.get("Policy")),
        )

    async def stream(self, name: str) -> ObservedStream | None:
        found = await self._found(self._kinesis.describe_stream_summary, StreamName=name)
        if found is None:
            return None
        there = found["StreamDescriptionSummary"]
        if there["StreamStatus"] not in ("ACTIVE", "UPDATING"):
            raise Unavailable(f"the Kinesis stream {name} is {there['StreamStatus'].lower()}")
        tags = await call(self._io, self._kinesis.list_tags_for_stream, StreamName=name)
        return ObservedStream(
            there["StreamARN"],
            {tag["Key"]: tag["Value"] for tag in tags["Tags"]},
            there["RetentionPeriodHours"],
        )

    async def rule(self, name: str, bus: str) -> ObservedRule | None:
        found = await self._found(self._events.describe_rule, Name=name, EventBusName=bus)
        if found is None:
            return None
        targets = await call(self._io, self._events.list_targets_by_rule, Rule=name, EventBusName=bus)
        tags = await call(self._io, self._events.list_tags_for_resource, ResourceARN=found["Arn"])
        return ObservedRule(
            found["Arn"],
            found.get("EventPattern", ""),
            found["State"] == "ENABLED",
            tuple(target["Arn"] for target in targets["Targets"]),
            {tag["Key"]: tag["Value"] for tag in tags["Tags"]},
        )

    async def mappings(self, function: str) -> list[ObservedMapping]:
        observed: list[ObservedMapping] = []
        request: dict[str, Any] = {"FunctionName": f"{function}:{ALIAS}"}
        while True:
            page = await self._found(self._functions.list_event_source_mappings, **request)
            if page is None:  # there is no such function any more
                return observed
            for there in page["EventSourceMappings"]:
                if there["State"] in _MOVING:
                    raise Unavailable(f"the mapping of {there['EventSourceArn']} is {there['State'].lower()}")
                observed.append(_mapping(there))
            if not page.get("NextMarker"):
                return observed
            request["Marker"] = page["NextMarker"]

    async def apply(self, action: SourceAction) -> None:
        match action:
            case CreateQueue(queue=queue):
                await call(
                    self._io,
                    self._sqs.create_queue,
                    QueueName=queue.name,
                    Attributes=_attributes(queue),
                    tags=queue.tags,
                )
                if queue.rule is not None:  # its policy names the queue itself
                    there = await self.queue(queue.name)
                    if there is not None:
                        await self._set(there, queue)
            case SetQueue(queue=queue):
                there = await self.queue(queue.name)
                if there is not None:
                    await self._set(there, queue)
            case CreateMapping():
                await self._create_mapping(action.mapping)
            case UpdateMapping(mapping=mapping):
                await call(
                    self._io,
                    self._functions.update_event_source_mapping,
                    UUID=action.id,
                    **_settings(mapping),
                )
            case PauseMapping():
                update = self._functions.update_event_source_mapping
                await call(self._io, update, UUID=action.id, Enabled=False)
            case DeleteMapping():
                await self._found(self._functions.delete_event_source_mapping, UUID=action.id)
            case PutRule():
                await self._put_rule(action.rule)
            case CreateStream():
                await self._create_stream(action)
            case KeepLonger():
                await call(
                    self._io,
                    self._kinesis.increase_stream_retention_period,
                    StreamName=action.name,
                    RetentionPeriodHours=action.hours,
                )
            case StopRule():
                await self._stop_rule(action)
            case TagStream():
                tag = self._kinesis.add_tags_to_stream
                await call(self._io, tag, StreamName=action.name, Tags=action.tags)
            case _:
                assert_never(action)

    async def delete_rule(self, name: str, bus: str) -> None:
        there = await self.rule(name, bus)
        if there is None:
            return
        of_it = {"Rule": name, "EventBusName": bus}
        targets = await call(self._io, self._events.list_targets_by_rule, **of_it)
        ids = [target["Id"] for target in targets["Targets"]]
        if ids:
            await call(self._io, self._events.remove_targets, **of_it, Ids=ids)
        await self._found(self._events.delete_rule, Name=name, EventBusName=bus)

    async def delete_queue(self, name: str) -> None:
        address = await self._found(self._sqs.get_queue_url, QueueName=name)
        if address is not None:
            await self._found(self._sqs.delete_queue, QueueUrl=address["QueueUrl"])

    async def delete_stream(self, name: str) -> None:
        await self._found(self._kinesis.delete_stream, StreamName=name, EnforceConsumerDeletion=True)

    async def _set(self, there: ObservedQueue, queue: Queue) -> None:
        attributes = _attributes(queue)
        attributes.setdefault("RedrivePolicy", "")
        attributes["Policy"] = "" if queue.rule is None else _policy(there.arn, queue.rule)
        await call(self._io, self._sqs.set_queue_attributes, QueueUrl=there.url, Attributes=attributes)
        await call(self._io, self._sqs.tag_queue, QueueUrl=there.url, Tags=queue.tags)

    async def _create_mapping(self, mapping: Mapping) -> None:
        request = {**_settings(mapping), "EventSourceArn": mapping.source, "FunctionName": mapping.function}
        if mapping.starting_position is not None:
            request["StartingPosition"] = _POSITIONS[mapping.starting_position]
            request["BisectBatchOnFunctionError"] = True
        try:
            await call(self._io, self._functions.create_event_source_mapping, **request)
        except PikError as error:
            if not is_code(error, "ResourceConflictException"):
                raise
            raise Unavailable(f"a mapping of {mapping.source} is being made") from error

    async def _put_rule(self, rule: Rule) -> None:
        of_it = {"Rule": rule.name, "EventBusName": rule.bus}
        await call(
            self._io,
            self._events.put_rule,
            Name=rule.name,
            EventBusName=rule.bus,
            EventPattern=rule.pattern,
            State="ENABLED" if rule.enabled else "DISABLED",
        )
        there = await self.rule(rule.name, rule.bus)
        if there is None:
            raise Unavailable(f"the rule {rule.name} is not there yet")
        tags = [{"Key": key, "Value": value} for key, value in rule.tags.items()]
        await call(self._io, self._events.tag_resource, ResourceARN=there.arn, Tags=tags)
        targets = await call(self._io, self._events.list_targets_by_rule, **of_it)
        others = [target["Id"] for target in targets["Targets"] if target["Id"] != _TARGET]
        if others:
            await call(self._io, self._events.remove_targets, **of_it, Ids=others)
        await call(self._io, self._events.put_targets, **of_it, Targets=[{"Id": _TARGET, "Arn": rule.queue}])

    async def _stop_rule(self, action: StopRule) -> None:
        there = await self.rule(action.name, action.bus)
        if there is not None and there.enabled:
            put, of_it = self._events.put_rule, {"Name": action.name, "EventBusName": action.bus}
            await call(self._io, put, **of_it, EventPattern=there.pattern, State="DISABLED")

    async def _create_stream(self, action: CreateStream) -> None:
        try:
            await call(
                self._io,
                self._kinesis.create_stream,
                StreamName=action.name,
                StreamModeDetails={"StreamMode": "ON_DEMAND"},
                Tags=action.tags,
            )
        except PikError as error:
            if not is_code(error, "ResourceInUseException"):
                raise

    async def _found(self, method: Any, **request: Any) -> Any:
        """None where there is no such thing."""
        try:
            return await call(self._io, method, **request)
        except PikError as error:
            if is_code(error, *_NOT_FOUND):
                return None
            raise


def _attributes(queue: Queue) -> dict[str, str]:
    attributes = {
        "VisibilityTimeout": str(queue.visibility_seconds),
        "MessageRetentionPeriod": str(queue.retention_seconds),
    }
    if queue.dead_letters is not None:
        redrive = {"deadLetterTargetArn": queue.dead_letters, "maxReceiveCount": queue.max_receive_count}
        attributes["RedrivePolicy"] = msgspec.json.encode(redrive).decode()
    return attributes


def _policy(queue: str, rule: str) -> str:
    """That EventBridge may send, for this rule alone."""
    statement = {
        "Sid": _STATEMENT,
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    return msgspec.json.encode({"Version": "2012-10-17", "Statement": [statement]}).decode()


def _rules(policy: str | None) -> tuple[str, ...]:
    """Of our own statement; whatever else somebody's policy says, in whatever of IAM's forms."""
    document = msgspec.json.decode(policy) if policy else {}
    statements = document.get("Statement", [])
    ours = [
        each
        for each in (statements if isinstance(statements, list) else [statements])
        if each.get("Sid") == _STATEMENT
    ]
    found = (each.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn", "") for each in ours)
    return tuple(str(each) for each in found)


def _settings(mapping: Mapping) -> dict[str, Any]:
    return {
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_seconds,
        "Enabled": mapping.enabled,
        "FunctionResponseTypes": [_PARTIAL] if mapping.partial else [],
    }


def _mapping(there: dict[str, Any]) -> ObservedMapping:
    return ObservedMapping(
        there["UUID"],
        there["EventSourceArn"],
        there["BatchSize"],
        there["State"] == "Enabled",
        _PARTIAL in there.get("FunctionResponseTypes", []),
    )
