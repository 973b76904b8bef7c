"""What the work may expect of whoever makes queues, rules, streams and mappings."""

from __future__ import annotations

import io as files
import zipfile
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from contract.conftest import BOTH
from pik.api.sources import StartingPosition
from pik.aws.sources import AwsSources
from pik.domain.errors import OwnershipConflict
from pik.memory.sources import MemoryPipes, MemorySources
from pik.planning.drift import Difference
from pik.planning.functions import ALIAS
from pik.planning.sources import (
    DeleteMapping,
    Mapping,
    Queue,
    Rule,
    SourceAction,
    mapping_differences,
    queue_differences,
    rule_differences,
    stream_differences,
)
from pik.planning.storage import STREAM_TAG
from pik.ports.sources import SourceProvisioner

TAGS = {STREAM_TAG: "5" * 32, "pik.dev/owner": "me"}
OTHERS = {**TAGS, STREAM_TAG: "6" * 32}


@dataclass
class Sources:
    provisioner: SourceProvisioner
    name: str
    function: str  # ARN of the alias

    async def settle(self, differences: list[Difference[SourceAction]]) -> list[str]:
        for difference in differences:
            await self.provisioner.apply(difference.action)
        return [difference.field for difference in differences]

    async def queue(self, queue: Queue) -> list[str]:
        return await self.settle(queue_differences(queue, await self.provisioner.queue(queue.name)))

    async def rule(self, rule: Rule) -> list[str]:
        return await self.settle(rule_differences(rule, await self.provisioner.rule(rule.name, rule.bus)))

    async def mapping(self, mapping: Mapping) -> list[str]:
        there = await self.provisioner.mappings(self.name)
        ours = next((each for each in there if each.source == mapping.source), None)
        return await self.settle(mapping_differences(mapping, ours))

    async def arn(self, name: str) -> str:
        found = await self.provisioner.queue(name)
        assert found is not None
        return found.arn


@pytest.fixture(params=BOTH)
def sources(request: pytest.FixtureRequest, unique: str) -> Sources:
    if request.param == "memory":
        function = f"arn:aws:lambda:us-east-1:000000000000:function:{unique}:{ALIAS}"
        return Sources(MemorySources(MemoryPipes()), unique, function)
    clients = request.getfixturevalue("clients")
    functions: Any = clients.client("lambda")
    buffer = files.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("handler.py", "def handle(event, context):\n    return {}\n")
    functions.create_function(
        FunctionName=unique,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/ingest",
        Handler="handler.handle",
        Code={"ZipFile": buffer.getvalue()},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=unique)
    number = functions.publish_version(FunctionName=unique)["Version"]
    alias = functions.create_alias(FunctionName=unique, Name=ALIAS, FunctionVersion=number)
    provisioner = AwsSources(
        functions,
        clients.client("sqs"),
        clients.client("kinesis"),
        clients.client("events"),
        request.getfixturevalue("io"),
    )
    return Sources(provisioner, unique, alias["AliasArn"])


async def test_a_queue_with_its_dead_letters_is_made_and_set_right(sources: Sources) -> None:
    dead = Queue(f"{sources.name}_dlq", 30, TAGS)
    assert await sources.provisioner.queue(dead.name) is None
    assert await sources.queue(dead) == ["queue"]
    wanted = Queue(sources.name, 360, TAGS, await sources.arn(dead.name), 5)
    assert await sources.queue(wanted) == ["queue"]
    assert await sources.queue(wanted) == await sources.queue(dead) == []
    slower = msgspec.structs.replace(wanted, visibility_seconds=600, max_receive_count=3)
    assert await sources.queue(slower) == ["visibilityTimeout", "redrivePolicy"]
    there = await sources.provisioner.queue(sources.name)
    assert there is not None
    assert (there.visibility_seconds, there.max_receive_count) == (600, 3)
    with pytest.raises(OwnershipConflict):
        await sources.queue(msgspec.structs.replace(wanted, tags=OTHERS))


async def test_a_rule_sends_to_its_queue_alone(sources: Sources) -> None:
    queue = Queue(sources.name, 360, TAGS)
    await sources.queue(queue)
    rule = Rule(sources.name, "default", '{"source":["shop"]}', await sources.arn(queue.name), True, TAGS)
    assert await sources.provisioner.rule(rule.name, rule.bus) is None
    assert await sources.rule(rule) == ["rule"]
    assert await sources.rule(rule) == []
    there = await sources.provisioner.rule(rule.name, rule.bus)
    assert there is not None
    fed = msgspec.structs.replace(queue, rule=there.arn)
    assert await sources.queue(fed) == ["policy"]
    assert await sources.queue(fed) == []
    other = msgspec.structs.replace(rule, pattern='{"source":["till"]}', enabled=False)
    assert await sources.rule(other) == ["eventPattern", "state"]
    assert await sources.rule(other) == []
    with pytest.raises(OwnershipConflict):
        await sources.rule(msgspec.structs.replace(rule, tags=OTHERS))
    await sources.provisioner.delete_rule(rule.name, rule.bus)
    await sources.provisioner.delete_rule(rule.name, rule.bus)
    assert await sources.provisioner.rule(rule.name, rule.bus) is None


async def test_a_mapping_of_a_queue_is_made_changed_and_deleted(sources: Sources) -> None:
    queue = Queue(sources.name, 360, TAGS)
    await sources.queue(queue)
    mapping = Mapping(await sources.arn(queue.name), sources.function, 10, enabled=True)
    assert await sources.mapping(mapping) == ["eventSourceMapping"]
    assert await sources.mapping(mapping) == []
    (there,) = await sources.provisioner.mappings(sources.name)
    assert there.partial
    paused = msgspec.structs.replace(mapping, batch_size=100, enabled=False)
    assert await sources.mapping(paused) == ["batchSize", "enabled"]
    assert await sources.mapping(paused) == []
    await sources.provisioner.apply(DeleteMapping(there.id))
    await sources.provisioner.apply(DeleteMapping(there.id))
    assert await sources.provisioner.mappings(sources.name) == []


async def test_a_kinesis_stream_and_its_mapping(sources: Sources) -> None:
    name = sources.name
    assert await sources.provisioner.stream(name) is None
    assert await sources.settle(stream_differences(name, TAGS, None)) == ["stream", "tags", "retentionPeriod"]
    there = await sources.provisioner.stream(name)
    assert there is not None
    assert stream_differences(name, TAGS, there) == []
    with pytest.raises(OwnershipConflict):
        stream_differences(name, OTHERS, there)
    mapping = Mapping(
        there.arn, sources.function, 50, enabled=True, starting_position=StartingPosition.TRIM_HORIZON
    )
    assert await sources.mapping(mapping) == ["eventSourceMapping"]
    assert await sources.mapping(mapping) == []
    await sources.provisioner.apply(DeleteMapping((await sources.provisioner.mappings(name))[0].id))
    await sources.provisioner.delete_stream(name)
    await sources.provisioner.delete_stream(name)
    assert await sources.provisioner.stream(name) is None


async def test_a_queue_is_deleted_and_again(sources: Sources) -> None:
    await sources.queue(Queue(sources.name, 360, TAGS))
    await sources.provisioner.delete_queue(sources.name)
    await sources.provisioner.delete_queue(sources.name)
    assert await sources.provisioner.queue(sources.name) is None
