"""Functions and sources of a CaptureStream: rolled out, set right, stopped and taken away."""

from __future__ import annotations

import gzip
import json
from itertools import count
from typing import Any

import msgspec
import pytest
import yaml

from controller.clusters import Cluster
from controller.feeding import BUS, KINESIS, OBJECTS, PROCESSING, QUEUE, ROLE, stream
from controller.manifests import STREAM, events
from pik.controller.objects import ObjectKey
from pik.controller.roles import LocalRights, NoRoles
from pik.controller.stream_storage import TAKE_OVER_FROM
from pik.domain.errors import Denied, SourceNotAllowed, Unavailable
from pik.planning.functions import ObservedFunction
from pik.planning.sources import ObservedQueue


async def applied(cluster: Cluster, text: str) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    return key


async def ready(cluster: Cluster, text: str) -> ObjectKey:
    key = await applied(cluster, text)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned"), cluster.status(key)
    return key


def the_function(cluster: Cluster) -> ObservedFunction:
    (function,) = cluster.cloud.lambdas.functions.values()
    return function


def mappings(cluster: Cluster) -> dict[str, Any]:
    return {m.source.rsplit(":", 1)[1]: m for _, m in cluster.cloud.pipes.mappings.values()}


def queue_of(cluster: Cluster, end: str) -> ObservedQueue:
    return next(q for name, q in cluster.cloud.pipes.queues.items() if name.endswith(end))


def told(cluster: Cluster, reason: str) -> list[str]:
    return [event.message for _, event in cluster.objects.events if event.reason == reason]


async def test_a_function_is_rolled_out_and_told(cluster: Cluster) -> None:
    key = await ready(cluster, stream(function={"roleARN": ROLE, "url": {"authType": "None"}}))
    function, status = the_function(cluster), cluster.status(key)
    assert cluster.condition(key, "FunctionsReady") == ("True", "Provisioned")
    (of_it,) = status.functions
    assert function.live is not None
    assert function.url is not None
    assert (of_it.name, of_it.version, of_it.url) == ("ingest", function.live.number, function.url.url)
    assert of_it.arn == function.live_arn
    stored = cluster.account.buckets[status.storage.bucket].objects
    (package,) = [key for key in stored if "functions/" in key]
    assert package == f"some/functions/ingest-x86_64-{of_it.codeSHA256}.zip"
    (told_to,) = function.newest.settings.environment.values()
    task = json.loads(told_to)
    assert (task["stream"]["bucket"], task["stream"]["table"]) == (status.storage.bucket, status.index.table)


async def test_a_stream_without_functions_asks_nothing_of_lambda(cluster: Cluster) -> None:
    key = await ready(cluster, STREAM)
    assert not [call for call in cluster.cloud.calls if call.startswith(("functions", "sources"))]
    assert cluster.condition(key, "FunctionsReady") is None


async def test_a_new_package_is_rolled_out_and_is_no_drift(cluster: Cluster) -> None:
    key = await ready(cluster, stream(driftPolicy="Report"))
    before = the_function(cluster).live
    cluster.packages.release = "2"
    await cluster.advance(120)
    after = the_function(cluster).live
    assert before is not None
    assert after is not None
    assert (before.number, after.number) == ("1", "2")
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).drift == ()


async def test_a_version_that_is_not_well_gets_no_events_and_is_tried_again(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE))
    before = the_function(cluster).live
    cluster.packages.release = "2"
    cluster.cloud.lambdas.ailing = lambda _: "ImportError: pyarrow"
    await cluster.advance(120)
    assert cluster.condition(key, "FunctionsReady") == ("False", "FunctionUnhealthy")
    assert cluster.condition(key, "Ready") == ("False", "FunctionUnhealthy")
    assert cluster.condition(key, "GatewayReady") == ("True", "Provisioned")
    assert "ImportError: pyarrow" in str(cluster.status(key).conditions)
    assert the_function(cluster).live == before
    assert cluster.status(key).functions[0].version == "1"
    cluster.cloud.lambdas.ailing = lambda _: None
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).functions[0].version == "2"


@pytest.mark.parametrize("policy", ["Repair", "Report"])
async def test_what_somebody_else_changes_is_drift(cluster: Cluster, policy: str) -> None:
    key = await ready(cluster, stream(QUEUE, driftPolicy=policy))
    functions, queues = cluster.cloud.lambdas.functions, cluster.cloud.pipes.queues
    (name,) = functions
    tampered = msgspec.structs.replace(functions[name], concurrency=1)
    functions[name] = tampered
    (queue,) = [each for each in queues if not each.endswith("_dlq")]
    queues[queue] = msgspec.structs.replace(queues[queue], visibility_seconds=1)
    await cluster.advance(120)
    drift = {(each.field, each.action) for each in cluster.status(key).drift}
    if policy == "Repair":
        assert drift == {("reservedConcurrency", "Repaired"), ("visibilityTimeout", "Repaired")}
        assert (functions[name].concurrency, queues[queue].visibility_seconds) == (None, 360)
        assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    else:
        assert drift == {("reservedConcurrency", "Reported"), ("visibilityTimeout", "Reported")}
        assert (functions[name].concurrency, queues[queue].visibility_seconds) == (1, 1)
        assert cluster.condition(key, "Ready") == ("False", "DriftReported")


async def test_sources_are_made_and_read_by_the_live_version(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE, KINESIS, BUS))
    assert cluster.condition(key, "SourcesReady") == ("True", "Provisioned")
    by_name = {each.name: each for each in cluster.status(key).sources}
    assert list(by_name) == ["bus", "clicks", "orders"]
    assert by_name["orders"].address == queue_of(cluster, "-orders").url
    assert by_name["orders"].deadLetters == queue_of(cluster, "-orders_dlq").url
    assert by_name["bus"].address == "eventbridge://default"
    assert {each.state for each in by_name.values()} == {"Reading"}
    function = the_function(cluster)
    assert {arn for arn, _ in cluster.cloud.pipes.mappings.values()} == {function.live_arn}
    queue, stream_of = queue_of(cluster, "-orders"), next(iter(cluster.cloud.pipes.streams.values()))
    assert {each.source for each in mappings(cluster).values()} == {
        queue.arn,
        stream_of.arn,
        queue_of(cluster, "-bus").arn,
    }
    assert (queue.visibility_seconds, queue.max_receive_count) == (360, 5)
    assert queue.dead_letters == queue_of(cluster, "-orders_dlq").arn
    ((_, rule),) = cluster.cloud.pipes.rules.items()
    assert rule.targets == (queue_of(cluster, "-bus").arn,)
    assert queue_of(cluster, "-bus").rules == (rule.arn,)


async def test_a_queue_of_somebody_elses_is_looked_at_and_left(cluster: Cluster) -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:theirs"
    there = ObservedQueue("https://sqs/theirs", arn, 30, 60, {})
    cluster.cloud.pipes.queues["theirs"] = there
    text = stream({"name": "orders", "type": "SQS", "sqs": {"queueARN": arn}})
    key = await applied(cluster, text)
    assert cluster.condition(key, "SourcesReady") == ("False", "InvalidSpec")
    assert "visibility timeout to 360 s" in cluster.status(key).sources[0].message
    longer = msgspec.structs.replace(there, visibility_seconds=400)
    cluster.cloud.pipes.queues["theirs"] = longer
    await cluster.advance(300)
    assert "no dead-letter queue" in cluster.status(key).sources[0].message
    good = msgspec.structs.replace(longer, dead_letters=f"{arn}-dlq", max_receive_count=3)
    cluster.cloud.pipes.queues["theirs"] = good
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.cloud.pipes.queues == {"theirs": good}
    assert [mapping.source for mapping in mappings(cluster).values()] == [arn]


async def test_one_source_that_fails_does_not_stop_the_others(cluster: Cluster) -> None:
    missing = {
        "name": "gone",
        "type": "SQS",
        "sqs": {"queueARN": "arn:aws:sqs:us-east-1:000000000000:gone"},
    }
    key = await applied(cluster, stream(QUEUE, missing))
    states = {each.name: each.state for each in cluster.status(key).sources}
    assert states == {"orders": "Reading", "gone": "Failing"}
    assert cluster.condition(key, "SourcesReady") == ("False", "InvalidSpec")
    assert cluster.condition(key, "FunctionsReady") == ("True", "Provisioned")
    assert len(mappings(cluster)) == 1


async def test_while_it_is_suspended_nothing_is_read(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE))
    await applied(cluster, stream(QUEUE, suspend=True))
    assert cluster.condition(key, "FunctionsReady") == ("False", "Suspended")
    assert cluster.condition(key, "SourcesReady") == ("False", "Suspended")
    assert the_function(cluster).concurrency == 0
    assert [each.enabled for each in mappings(cluster).values()] == [False]
    assert cluster.status(key).sources[0].state == "Paused"
    await ready(cluster, stream(QUEUE))
    assert the_function(cluster).concurrency is None
    assert [each.enabled for each in mappings(cluster).values()] == [True]


async def test_what_the_spec_has_no_more_goes_but_for_what_holds_events(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE, BUS))
    await ready(cluster, stream(QUEUE))
    assert list(mappings(cluster)) == [queue_of(cluster, "-orders").arn.rsplit(":", 1)[1]]
    assert cluster.cloud.pipes.rules == {}
    assert any(name.endswith("-bus") for name in cluster.cloud.pipes.queues)
    assert "it stays, with what it holds" in told(cluster, "SourceLeft")[0]
    await ready(cluster, stream(function=None))
    assert (cluster.cloud.lambdas.functions, mappings(cluster)) == ({}, {})
    assert cluster.status(key).functions == cluster.status(key).sources == ()
    assert cluster.condition(key, "FunctionsReady") is None


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_takes_what_feeds_it(cluster: Cluster, policy: str) -> None:
    storage = {"prefix": "some", "deletionPolicy": policy}
    key = await ready(cluster, stream(QUEUE, KINESIS, BUS, storage=storage))
    await cluster.ingest(key, events(2))
    bucket = cluster.status(key).storage.bucket
    cluster.delete(key)
    await cluster.settle()
    assert key not in cluster.objects.there
    pipes = cluster.cloud.pipes
    assert (cluster.cloud.lambdas.functions, pipes.mappings, pipes.rules) == ({}, {}, {})
    assert (bucket in cluster.account.bucket_settings) is (policy == "Retain")
    if policy == "Retain":
        assert (len(pipes.queues), len(pipes.streams)) == (4, 1)
        assert "these stay, with what they hold" in told(cluster, "SourceLeft")[0]
    else:
        assert (pipes.queues, pipes.streams) == ({}, {})


async def test_another_streams_function_is_left_alone(cluster: Cluster) -> None:
    key = await ready(cluster, stream())
    (name,) = cluster.cloud.lambdas.functions
    other = msgspec.structs.replace(the_function(cluster), tags={"pik.dev/owner": "there/a/b"})
    cluster.cloud.lambdas.functions[name] = other
    await cluster.advance(120)
    assert cluster.condition(key, "FunctionsReady") == ("False", "OwnershipConflict")
    assert the_function(cluster) == other


async def test_without_packages_or_rights_it_says_so(cluster: Cluster) -> None:
    cluster.packages.missing = True
    key = await applied(cluster, stream())
    assert cluster.condition(key, "Ready") == ("False", "PackageMissing")
    assert cluster.condition(key, "GatewayReady") == ("True", "Provisioned")
    cluster.packages.missing = False
    cluster.roles = NoRoles()
    cluster.start()
    await cluster.settle()
    assert cluster.condition(key, "FunctionsReady") == ("False", "RoleNotAllowed")


async def test_a_bus_has_to_be_allowed(cluster: Cluster) -> None:
    class Some(NoRoles):
        def check_function_role(self, *_: object, **__: object) -> None: ...

    cluster.roles = Some()
    cluster.start()
    key = await applied(cluster, stream(BUS, OBJECTS))
    assert cluster.condition(key, "SourcesReady") == ("False", "SourceNotAllowed")
    assert {each.state for each in cluster.status(key).sources} == {"Failing"}


@pytest.mark.parametrize(
    ("error", "reason"), [(Unavailable("no route"), "AWSUnavailable"), (Denied("may not"), "AWSRefused")]
)
@pytest.mark.parametrize("call", ["functions.function", "functions.apply", "sources.mappings"])
async def test_what_aws_says_is_told_and_heals(
    cluster: Cluster, error: Exception, reason: str, call: str
) -> None:
    cluster.cloud.fault = lambda at: error if at == call else None
    key = await applied(cluster, stream(QUEUE))
    assert cluster.condition(key, "Ready") == ("False", reason)
    assert cluster.condition(key, "GatewayReady") == ("True", "Provisioned")
    cluster.cloud.fault = lambda _: None
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")


async def test_objects_are_read_once_with_their_progress(cluster: Cluster) -> None:
    archive = cluster.cloud.objects("archive", None)
    cluster.account.bucket("archive").exists = True
    for day in range(3):
        lines = [
            {
                "source": "s",
                "event_type": "t",
                "entity_id": f"e{n}",
                "event_time": "2025-01-01T00:00:00Z",
                "payload": {"n": n},
                "idempotency_key": f"{day}-{n}",
            }
            for n in range(10)
        ]
        body = "\n".join(map(json.dumps, lines)) + "\nnonsense\n"
        await archive.create(f"2025/{day}.ndjson", body.encode())
    await archive.create("2024/0.ndjson", b"not read")
    key = await ready(cluster, stream(OBJECTS, function=None))
    (source,) = cluster.status(key).sources
    assert (source.state, source.address) == ("Reading", "s3://archive/2025/")
    progress = source.progress
    assert (progress.objects, progress.pending, progress.events, progress.rejected) == (3, 0, 30, 3)
    assert progress.lastKey == "2025/2.ndjson"
    reads = cluster.cloud.calls["objects.save"]
    await archive.create("2025/3.ndjson", body.encode())
    await cluster.advance(120)
    await cluster.advance(15)
    progress = cluster.status(key).sources[0].progress
    assert (progress.objects, progress.events) == (4, 40)  # the same events once more: repeats
    assert cluster.cloud.calls["objects.save"] == reads + 1
    await cluster.advance(120)
    assert cluster.status(key).counters.events == 30
    cluster.start()
    await cluster.settle()
    assert cluster.cloud.calls["objects.save"] == reads + 1
    assert cluster.status(key).sources[0].progress.objects == 4


async def test_an_object_that_cannot_be_read_is_named_and_the_others_are_read(cluster: Cluster) -> None:
    archive = cluster.cloud.objects("archive", None)
    cluster.account.bucket("archive").exists = True
    await archive.create("2025/a.parquet", b"no parquet")
    text = stream({**OBJECTS, "s3": {**OBJECTS["s3"], "format": "Parquet"}}, function=None)
    key = await applied(cluster, text)
    assert cluster.condition(key, "SourcesReady") == ("False", "SourceUnreadable")
    assert "2025/a.parquet" in cluster.status(key).sources[0].message
    assert cluster.condition(key, "GatewayReady") == ("True", "Provisioned")
    await cluster.advance(300)
    assert cluster.condition(key, "SourcesReady") == ("False", "SourceUnreadable")
    cluster.account.bucket("archive").objects.clear()
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")


async def test_processing_has_a_queue_of_its_own_that_the_replay_function_sends_to(cluster: Cluster) -> None:
    text = stream(
        {**QUEUE, "name": "replay-queue"},
        processing=PROCESSING,
        replay={"lambda": {"roleARN": ROLE, "maxEvents": 7}},
    )
    key = await ready(cluster, text)
    by_name = {each.name: each for each in cluster.status(key).functions}
    assert list(by_name) == ["ingest", "processor", "replay"]
    queue, dead = queue_of(cluster, "-replay_queue"), queue_of(cluster, "-replay_queue_dlq")
    assert (queue.visibility_seconds, queue.max_receive_count, queue.dead_letters) == (360, 3, dead.arn)
    assert by_name["processor"].queueURL == by_name["replay"].queueURL == queue.url
    assert by_name["processor"].deadLetterURL == dead.url
    read_by = {mapping.source: arn for arn, mapping in cluster.cloud.pipes.mappings.values()}
    assert read_by[queue.arn] == by_name["processor"].arn
    assert read_by[queue_of(cluster, "-replay-queue").arn] == by_name["ingest"].arn
    told_to = {
        name.rsplit("-", 1)[1]: json.loads(next(iter(function.newest.settings.environment.values())))
        for name, function in cluster.cloud.lambdas.functions.items()
    }
    assert (told_to["replay"]["queue_url"], told_to["replay"]["most_events"]) == (queue.url, 7)
    assert told_to["processor"]["bucket"] == "Hour"
    await ready(cluster, stream(function=None))
    assert (cluster.cloud.lambdas.functions, cluster.cloud.pipes.mappings) == ({}, {})
    assert "replay_queue" in " ".join(told(cluster, "SourceLeft"))


async def test_an_expression_that_is_none_is_the_specs_fault_and_stops_no_other_function(
    cluster: Cluster,
) -> None:
    wrong = {**PROCESSING, "measures": [{"name": "x", "expression": "sum(nonsense("}]}
    key = await applied(cluster, stream(QUEUE, processing=wrong))
    assert cluster.condition(key, "FunctionsReady") == ("False", "InvalidSpec")
    assert cluster.condition(key, "SourcesReady") == ("True", "Provisioned")
    assert {each.name: each.version for each in cluster.status(key).functions} == {
        "ingest": "1",
        "processor": None,
    }


async def test_a_resumed_stream_gets_what_was_new_meanwhile(cluster: Cluster) -> None:
    """A function that is stopped cannot be asked whether it is well."""
    key = await ready(cluster, stream(QUEUE))
    await applied(cluster, stream(QUEUE, suspend=True))
    cluster.packages.release = "2"
    await ready(cluster, stream(QUEUE))
    assert cluster.status(key).functions[0].version == "2"


async def test_a_source_that_cannot_be_looked_at_is_read_on_as_it_was(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE, BUS, driftPolicy="Report"))
    before = the_function(cluster).live
    cluster.cloud.fault = lambda at: Unavailable("away") if at == "sources.queue" else None
    await cluster.advance(120)
    assert cluster.condition(key, "SourcesReady") == ("False", "AWSUnavailable")
    assert the_function(cluster).live == before
    assert len(mappings(cluster)) == 2
    cluster.cloud.fault = lambda _: None
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert the_function(cluster).live == before
    assert cluster.status(key).drift == ()


async def test_a_withdrawn_bus_stops_and_comes_back(cluster: Cluster) -> None:
    class Fewer(LocalRights):
        def check_source(self, address: str, namespace: str) -> None:
            raise SourceNotAllowed(address)

    key = await ready(cluster, stream(QUEUE, BUS, driftPolicy="Report"))
    cluster.roles = Fewer()
    cluster.start()
    await cluster.settle()
    assert cluster.condition(key, "SourcesReady") == ("False", "SourceNotAllowed")
    enabled = {name.rsplit("-", 1)[1]: mapping.enabled for name, mapping in mappings(cluster).items()}
    assert enabled == {"orders": True, "bus": False}
    assert [rule.enabled for rule in cluster.cloud.pipes.rules.values()] == [False]
    cluster.roles = LocalRights()
    cluster.start()
    await cluster.settle()
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert all(mapping.enabled for mapping in mappings(cluster).values())
    assert [rule.enabled for rule in cluster.cloud.pipes.rules.values()] == [True]


async def test_a_withdrawn_role_stops_the_function(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE, driftPolicy="Report"))
    cluster.roles = NoRoles()
    cluster.start()
    await cluster.settle()
    assert cluster.condition(key, "FunctionsReady") == ("False", "RoleNotAllowed")
    assert the_function(cluster).concurrency == 0
    assert [each.enabled for each in mappings(cluster).values()] == [False]
    cluster.roles = LocalRights()
    cluster.start()
    await cluster.settle()
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert the_function(cluster).concurrency is None
    assert [each.enabled for each in mappings(cluster).values()] == [True]


async def test_a_version_that_is_not_well_stops_no_source(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE))
    cluster.packages.release = "2"
    cluster.cloud.lambdas.ailing = lambda _: "ImportError"
    await applied(cluster, stream(QUEUE, KINESIS))
    assert cluster.condition(key, "FunctionsReady") == ("False", "FunctionUnhealthy")
    assert cluster.condition(key, "SourcesReady") == ("True", "Provisioned")
    assert {each.name: each.state for each in cluster.status(key).sources} == {
        "orders": "Reading",
        "clicks": "Reading",
    }


async def test_what_could_not_be_taken_away_is_remembered(cluster: Cluster) -> None:
    key = await ready(cluster, stream(QUEUE))
    cluster.cloud.fault = lambda at: Unavailable("away") if at == "sources.mappings" else None
    await applied(cluster, stream(function=None))
    assert cluster.condition(key, "Ready") == ("False", "AWSUnavailable")
    assert [each.name for each in cluster.status(key).functions] == ["ingest"]
    assert [each.name for each in cluster.status(key).sources] == ["orders"]
    cluster.cloud.fault = lambda _: None
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert (cluster.cloud.lambdas.functions, mappings(cluster)) == ({}, {})


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_old_owner_takes_nothing_from_the_new_one(cluster: Cluster, policy: str) -> None:
    bucket = {"prefix": "some", "deletionPolicy": policy, "bucket": {"name": "theirs"}}
    key = await ready(cluster, stream(QUEUE, BUS, storage=bucket))
    new = Cluster(cluster.cache, name="there", account=cluster.account)
    new.cloud = cluster.cloud
    new.start()
    text = yaml.safe_load(stream(QUEUE, BUS, storage=bucket))
    text["metadata"]["annotations"] = {TAKE_OVER_FROM: f"{cluster.name}/default/things"}
    taken = new.apply(yaml.safe_dump(text))
    await new.settle()
    assert new.condition(taken, "Ready") == ("True", "Provisioned"), new.status(taken)
    await cluster.advance(120)
    cluster.delete(key)
    await cluster.advance(30)
    assert new.status(taken).functions[0].function in cluster.cloud.lambdas.functions
    assert len(mappings(cluster)) == 2
    assert len(cluster.cloud.pipes.rules) == 1
    assert len(cluster.cloud.pipes.queues) == 4
    await new.stop()


async def test_an_object_that_was_read_in_the_wrong_form_is_read_again_in_the_right_one(
    cluster: Cluster,
) -> None:
    archive = cluster.cloud.objects("archive", None)
    cluster.account.bucket("archive").exists = True
    line = {"source": "s", "event_type": "t", "entity_id": "e", "event_time": "2025-01-01T00:00:00Z"}
    body = json.dumps({**line, "payload": 1}).encode()
    await archive.create("2025/a", gzip.compress(body))
    key = await applied(cluster, stream(OBJECTS, function=None))
    assert cluster.condition(key, "SourcesReady") == ("False", "SourceUnreadable")
    assert "none of its" in cluster.status(key).sources[0].message
    zipped = {**OBJECTS, "s3": {**OBJECTS["s3"], "compression": "Gzip"}}
    await ready(cluster, stream(zipped, function=None))
    assert cluster.status(key).sources[0].progress.events == 1


async def test_an_object_that_may_not_be_read_stops_no_other(cluster: Cluster) -> None:
    """One that is archived, say. All that were read are on record, and it is tried again."""
    archive = cluster.cloud.objects("archive", None)
    cluster.account.bucket("archive").exists = True
    line = {"source": "s", "event_type": "t", "entity_id": "e", "event_time": "2025-01-01T00:00:00Z"}
    for name in ("2025/a", "2025/b"):
        await archive.create(name, json.dumps({**line, "payload": name}).encode())
    saves = count()  # the second is of the other one, which is on record then

    def archived(call: str) -> Exception | None:
        return Denied("InvalidObjectState") if call == "objects.save" and next(saves) != 1 else None

    cluster.cloud.fault = archived
    key = await applied(cluster, stream(OBJECTS, function=None))
    (source,) = cluster.status(key).sources
    assert (source.progress.objects, source.progress.events) == (1, 1)
    assert source.message == "2025/a: InvalidObjectState"
    cluster.cloud.fault = lambda _: None
    await cluster.advance(900)
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.status(key).sources[0].progress.objects == 2
