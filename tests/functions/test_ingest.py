"""The function `ingest`, run by the emulator from its package: the gateway's answers to the same requests."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from functions.deployed import STRANGERS, Packages, Place, place_at
from functions.examples import examples, exchanges, shows
from functions.requests import CASES, EVENT, Case
from gateway.asgi import call
from iam.account import EVERYTHING, asking_account
from pik.aws.clients import AwsClients
from pik.domain.intake import IntakeRules
from pik.domain.mapping import TextRule
from pik.functions.health import CHECK
from pik.functions.ingest import TASK, IngestFunction, IngestTask
from pik.functions.messages import Form, SourceTask
from pik.functions.tasks import decode_task, encode_task

pytestmark = pytest.mark.emulator

RULES = IntakeRules(max_batch_bytes=4_000, max_event_bytes=1_000)
VOLATILE = ("ingest_lag_ms", "s3_key", "winner")


def ingest_task(place: Place, name: str) -> IngestTask:
    return IngestTask(place.stream(name), RULES)


def create(place: Place, package: Path, task: IngestTask) -> str:
    """The function's name."""
    return place.create(package, {TASK: encode_task(task)}, task.stream.prefix)


@pytest.fixture(scope="module")
def package(packages: Packages) -> Path:
    return packages("ingest")


@pytest.fixture(scope="module")
def there(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_at(emulator, tmp_path_factory.mktemp("ingest")) as place:
        yield place


def test_it_answers_as_the_gateway_does(there: Place, package: Path) -> None:
    by_function, by_gateway = ingest_task(there, "by-function"), ingest_task(there, "by-gateway")
    name = create(there, package, by_function)
    told = there.invoke(name, CHECK)
    assert told["generation"] == 1
    assert set(told["strangers"]) <= STRANGERS
    url = there.url(name)
    gateway = IngestFunction(by_gateway, there.access, there.scratch).gateway
    with httpx.Client(timeout=60) as client:
        for case in CASES:
            answer = client.request(case.method, url + case.path, headers=case.headers, content=case.body)
            expected = asyncio.run(
                call(gateway, case.gateway_path, case.body, method=case.method, headers=_sent(case))
            )
            assert (answer.status_code, _stable(answer.json())) == (
                expected.status,
                _stable(expected.body),
            ), case
    stored, wanted = there.rows(by_function.stream), there.rows(by_gateway.stream)
    assert sorted(map(_content, stored)) == sorted(map(_content, wanted))
    assert len(stored) == sum(case.stored for case in CASES)


def test_it_answers_api_gateway_too(there: Place, package: Path) -> None:
    """By a route for every path, under a stage that is no part of the path."""
    task = ingest_task(there, "by-api")
    name = create(there, package, task)
    api: Any = AwsClients(there.access).client("apigatewayv2")
    arn = there.functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    made = api.create_api(Name=name, ProtocolType="HTTP")["ApiId"]
    integration = api.create_integration(
        ApiId=made, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    api.create_route(ApiId=made, RouteKey="$default", Target=f"integrations/{integration}")
    api.create_stage(ApiId=made, StageName="prod", AutoDeploy=True)
    first, again = CASES[:2]
    url = f"{there.endpoint}/_aws/execute-api/{made}/prod"
    with httpx.Client(timeout=60) as client:
        for case, status in ((first, "ACCEPTED"), (again, "DUPLICATE")):
            answer = client.post(url + case.path, headers=case.headers, content=case.body)
            assert answer.status_code == 200, answer.text
            assert [each["status"] for each in answer.json()["answers"]] == [status]


def test_messages_of_a_queue_are_taken_or_come_again(there: Place, package: Path) -> None:
    """Through the emulator's own mapping: what is never right ends in the dead-letter queue, alone."""
    task = ingest_task(there, "by-queue")
    name = create(there, package, task)
    there.invoke(name, CHECK)  # it takes longer to start than messages stay hidden here
    dead, dead_arn = there.queue("dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"})
    queue, arn = there.queue("in", VisibilityTimeout="20", RedrivePolicy=redrive)
    bodies = [json.dumps({**EVENT, "idempotency_key": f"q{n}"}) for n in range(6)]
    wrong = [json.dumps({**EVENT, "entity_id": ""}), "[1,"]
    lines = "\n".join(json.dumps({**EVENT, "idempotency_key": f"n{n}"}) for n in range(2))
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate([*bodies, bodies[0], *wrong])]
    typed = {"contentType": {"DataType": "String", "StringValue": "application/x-ndjson"}}
    there.sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    there.sqs.send_message(QueueUrl=queue, MessageBody=lines, MessageAttributes=typed)
    there.functions.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, FunctionResponseTypes=["ReportBatchItemFailures"], BatchSize=10
    )
    buried = there.received(dead, len(wrong))
    assert sorted(buried) == sorted(wrong)
    outcomes = Counter(row["outcome"] for row in there.rows(task.stream))
    assert outcomes == {"ACCEPTED": 8, "DUPLICATE": 1}


def test_a_kinesis_batch_comes_again_until_it_is_taken(there: Place, package: Path) -> None:
    """The stream's index is not there at first: nothing is lost by that."""
    task = ingest_task(there, "by-shard")
    there.dynamodb.delete_table(TableName=task.stream.table)
    name = create(there, package, task)
    arn = there.shard(name)
    for n in range(20):
        data = json.dumps({**EVENT, "idempotency_key": f"s{n}"}).encode()
        there.kinesis.put_record(StreamName=name, Data=data, PartitionKey="one")
    made = there.functions.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, StartingPosition="TRIM_HORIZON", BatchSize=10
    )["UUID"]
    there.processed(made, "FAILED")
    assert there.rows(task.stream) == []
    there.index(task.stream)
    there.until(lambda: len(there.rows(task.stream)) >= 20)
    rows = there.rows(task.stream)
    assert sorted(row["idempotency_key"] for row in rows) == sorted(f"s{n}" for n in range(20))
    assert {row["outcome"] for row in rows} == {"ACCEPTED"}


def test_a_kinesis_mapping_that_takes_reports(there: Place, package: Path) -> None:
    """As AWS has it: what is behind the first failure is neither taken nor lost. The emulator's own mapping
    reads no reports, so the batch is handed over by hand."""
    task = ingest_task(there, "by-report")
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
    name = create(there, package, msgspec.structs.replace(task, sources={arn: SourceTask(reports=True)}))
    keys = ["r0", "r1", "", "r3"]
    bodies = [json.dumps({**EVENT, "idempotency_key": key, "entity_id": key or ""}) for key in keys]
    answer = there.invoke(name, {"Records": [_record(arn, n, body) for n, body in enumerate(bodies)]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert sorted(row["entity_id"] for row in there.rows(task.stream)) == ["r0", "r1"]
    rest = {"Records": [_record(arn, 3, bodies[3])]}
    assert there.invoke(name, rest) == {"batchItemFailures": []}
    # one whose mapping takes none fails as a whole, with what could be taken taken
    told, error = there.tried(name, {"Records": [_record(f"{arn}-2", n, b) for n, b in enumerate(bodies)]})
    assert error is not None
    assert "1 of 4 messages" in told["errorMessage"]
    outcomes = Counter(row["outcome"] for row in there.rows(task.stream))
    assert outcomes == {"ACCEPTED": 3, "DUPLICATE": 3}


def test_events_of_a_bus_by_a_rule_and_a_queue(there: Place, package: Path) -> None:
    task = ingest_task(there, "by-bus")
    queue, arn = there.queue("bus")
    source = SourceTask(Form.EVENT_BRIDGE, entity=TextRule(paths=("order",)))
    name = create(there, package, msgspec.structs.replace(task, sources={arn: source}))
    there.invoke(name, CHECK)
    events: Any = there.clients.client("events")
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["shop"]}))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    there.functions.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, FunctionResponseTypes=["ReportBatchItemFailures"], BatchSize=10
    )
    details = [{"order": f"o-{n}", "amount": n} for n in range(5)]
    entries = [
        {"Source": "shop", "DetailType": "paid", "Detail": json.dumps(detail)} for detail in [*details, {}]
    ]
    sent = events.put_events(Entries=entries)["Entries"]
    there.until(lambda: len(there.rows(task.stream)) >= 5)
    rows = sorted(there.rows(task.stream), key=lambda row: row["entity_id"])
    assert [json.loads(row["data"]) for row in rows] == details
    assert [row["idempotency_key"] for row in rows] == [entry["EventId"] for entry in sent[:5]]
    assert {(row["source"], row["event_type"]) for row in rows} == {("shop", "paid")}
    assert json.loads(rows[0]["attributes"])["region"] == "us-east-1"
    assert there.waiting(queue) == 1  # the one that names no order comes again, until it is a dead letter


def test_it_has_the_rights_of_its_role_alone(package: Path, tmp_path: Path) -> None:
    """At an emulator that asks: the credentials that a function is given, and not those that pik makes up."""
    with asking_account(tmp_path) as account, place_at(account.endpoint, tmp_path) as place:
        task = ingest_task(place, "by-role")
        account.access(
            "pik", {**EVERYTHING, "Statement": [{**EVERYTHING["Statement"][0], "Action": "sqs:*"}]}
        )
        name = create(place, package, task)
        told, error = place.tried(name, CHECK)
        assert error is not None
        assert "not authorized" in told["errorMessage"]
        account.allow("pik", EVERYTHING)
        assert place.invoke(name, CHECK)["generation"] == 1


def test_the_page_is_true(there: Place, package: Path) -> None:
    told, *_ = examples("ingest")
    task = ingest_task(there, "by-page")
    shown = decode_task(json.dumps(told), IngestTask)
    name = create(there, package, msgspec.structs.replace(shown, stream=task.stream))
    (event, answer), *batches = exchanges("ingest")
    with httpx.Client(timeout=60) as client:
        assert shows(answer, client.post(there.url(name), json=event).json())
    assert len(batches) == 2
    for asked, answer in batches:
        assert there.invoke(name, asked) == answer
    found = {row["entity_id"]: row["idempotency_key"] for row in there.rows(task.stream)}
    assert found == {"order-1": "payment-77", "order-2": None, "order-4": "53dc4d37"}


def _record(arn: str, number: int, body: str) -> dict[str, Any]:
    kinesis = {"data": b64encode(body.encode()).decode(), "sequenceNumber": str(number), "partitionKey": "p"}
    return {"eventSource": "aws:kinesis", "eventSourceARN": arn, "kinesis": kinesis}


def _sent(case: Case) -> dict[str, str]:
    """With what an HTTP client adds."""
    return {**case.headers, "content-length": str(len(case.body))}


def _stable(body: Any) -> Any:
    if "answers" not in body:
        return body
    return [{n: v for n, v in answer.items() if n not in VOLATILE} for answer in body["answers"]]


def _content(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("event_id", "outcome", "data", "event_time_text", "fingerprint")
    return tuple(str(row[name]) for name in names)
