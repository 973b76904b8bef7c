"""The policies of `pik iam`, held against the calls that pik made in them: each is enough, nothing in it can
be done without, and it allows nothing elsewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore import xform_name
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from iam.account import REGION, arn_of
from iam.asked import LISTED
from iam.asking import WORK_GROUP, Asked
from iam.day import Day, places_of
from iam.emulated import NEVER_ASKED, UNDENIED, translated
from iam.judge import ALLOWED, DENIED, Judge, Question
from iam.lessening import Part, without_actions, without_resources
from iam.wire import Request
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.roles import Role, policy
from pik.planning.iam.statements import Policy, matches

pytestmark = pytest.mark.emulator

OWN = {"sts:AssumeRole", "sqs:SendMessage", "kinesis:PutRecords", "events:PutEvents"}
DELETED = ("-gone-", "-fed-")  # buckets that are looked through for others' streams, and emptied
WORKING = tuple(role for role in Role if role is not Role.TENANT)
AWS = Path(__file__).parents[2] / "operator" / "pik" / "aws"
CLIENTS = ("athena", "client", "s3", "dynamodb", "tagging")
OTHER_CLIENTS = ("_functions", "_sqs", "_kinesis", "_events")
NO_CALLS = {"meta", "exceptions", "close", "generate_presigned_url", "_endpoint"}
BY_PEOPLE = {  # `pik orphans` and `pik verify`, with their own rights
    "inventory.py": {"get_resources", "list_buckets", "list_tables"},
    "dynamo_table.py": {"scan"},
    "quick.py": {"scan"},
}
_KEPT = ("content-type", "x-amz-target", "if-none-match", "if-match", "x-amz-bucket-object-lock-enabled")


def question(of: Policy, asked: Asked, **changes: Any) -> Question:
    given = {"action": asked.action, "resource": asked.resource, "context": asked.context, **changes}
    return Question(of, **given)


def refused(judge: Judge, questions: Sequence[Question], wanted: str = ALLOWED) -> list[str]:
    """What is judged otherwise."""
    verdicts = judge.verdicts(questions)
    return [f"{is_} {one}" for is_, one in zip(verdicts, questions, strict=True) if is_ != wanted]


def needed(judge: Judge, parts: Sequence[Part], asked: Sequence[Asked]) -> list[list[Asked]]:
    """For each part that is taken out, what is denied then."""
    questions = [(at, one) for at, part in enumerate(parts) for one in asked if part.concerns(one)]
    verdicts = judge.verdicts([question(parts[at].less, one) for at, one in questions])
    found: list[list[Asked]] = [[] for _ in parts]
    for (at, one), verdict in zip(questions, verdicts, strict=True):
        if verdict == DENIED:
            found[at].append(one)
    return found


def telling(of: Policy, asked: Sequence[Asked]) -> list[Asked]:
    """One of all those that the same parts of the policy speak of."""
    found: dict[object, Asked] = {}
    for one in asked:
        speaking = tuple(
            (statement.sid, resource)
            for statement in of.statements
            for resource in statement.resources
            if one.action in statement.actions and matches(resource, one.resource)
        )
        found.setdefault((one.action, speaking, tuple(key for key, _ in one.context)), one)
    return list(found.values())


def superfluous(judge: Judge, of: Policy, places: Sequence[Place], asked: Sequence[Asked]) -> list[str]:
    """What may be taken out of the policy, and all that is asked is allowed still."""
    parts = [*without_actions(of), *without_resources(of, places)]
    found = needed(judge, parts, telling(of, asked))
    return [part.name for part, denied in zip(parts, found, strict=True) if not denied]


def test_pik_did_its_work_with_these_rights_alone(day: Day) -> None:
    """The work itself has said what it came to; here, that nothing was denied on the way."""
    assert [(one.who, one.method, one.path) for one in day.requests if one.denied] == []
    assert {one.who for one in day.requests} >= {role.value for role in Role}


@pytest.mark.parametrize("role", Role)
def test_what_pik_asks_for_is_allowed(day: Day, judge: Judge, role: Role) -> None:
    assert refused(judge, [question(day.policies[role], one) for _, one in day.of([role])]) == []


@pytest.mark.parametrize("role", WORKING)
def test_nothing_can_be_left_out(day: Day, judge: Judge, role: Role) -> None:
    asked = [one for _, one in day.of([role])]
    assert superfluous(judge, day.policies[role], places_of(day.script), asked) == []


def test_a_tenants_role_is_what_the_parts_need_that_work_in_it(day: Day, judge: Judge) -> None:
    places = [msgspec.structs.replace(place, role=None) for place in places_of(day.script)]
    tenants = policy(Role.TENANT, places, [], Realm(), [WORK_GROUP])
    parts = (Role.OPERATOR, Role.GATEWAY, Role.WORKER, Role.AGGREGATE, Role.TENANT)
    # a role is assumed, and a target sent to, with the parts' own rights
    theirs = [one for _, one in day.of(parts) if one.action not in OWN]
    targets = (":::copies", ":function:orders")
    asked = [one for one in theirs if not any(target in one.resource for target in targets)]
    asked = telling(tenants, asked)
    assert refused(judge, [question(tenants, one) for one in asked]) == []
    assert superfluous(judge, tenants, places, asked) == []


@pytest.mark.parametrize("role", WORKING)
def test_nothing_is_allowed_elsewhere(day: Day, judge: Judge, role: Role) -> None:
    """The same calls on another's bucket, under another's prefix, on another's table, queue, key and role."""
    of = day.policies[role]
    asked = telling(of, [one for _, one in day.of([role])])
    moved = [question(of, one, **change) for one in asked for change in elsewhere(one)]
    assert len(moved) > 5
    assert refused(judge, moved, DENIED) == []


def elsewhere(asked: Asked) -> Iterator[dict[str, Any]]:
    *head, name = asked.resource.split(":", 5)
    parts = re.split("([/:])", name)
    if asked.action.startswith("s3:"):
        yield {"resource": ":".join([*head, "".join(["another", *parts[1:]])])}
        if any(part in parts[0] for part in DELETED):
            return
        if len(parts) > 1:
            yield {"resource": ":".join([*head, "".join([parts[0], "/another", *parts[1:]])])}
    elif head and not name.startswith("event-source-mapping:") and name != "catalog":
        moved = ["another"] if len(parts) == 1 else [*parts[:2], "another", *parts[3:]]
        yield {"resource": ":".join([*head, "".join(moved)])}
    for key, value in asked.context:
        if key == "s3:prefix" and value:
            yield {"context": ((key, "another/"),)}
        elif key == "lambda:FunctionArn":
            yield {"context": ((key, value.replace("pik-default-fed-", "another-")),)}
        elif key == "iam:PassedToService":
            yield {"context": ((key, "ec2.amazonaws.com"),)}
        elif key in ("s3:if-none-match", "s3:if-match", "kms:ViaService"):
            yield {"context": ()}  # it would replace what is there; or it is not S3 that uses the key


@pytest.mark.parametrize("role", WORKING)
def test_a_policy_without_names_is_for_all_streams_whose_names_pik_makes(
    day: Day, judge: Judge, role: Role
) -> None:
    general = policy(role, [Place(locks=True, deletes=True)], [], Realm())
    pik = ("arn:aws:s3:::pik-", ":table/pik-")
    asked = [
        one
        for _, one in day.of([role])
        if any(part in one.resource for part in pik) and "-fed-" not in one.resource
    ]
    assert len(asked) > 5
    assert refused(judge, [question(general, one) for one in asked]) == []


def test_the_emulator_denies_each_when_its_permission_is_taken_away(day: Day, judge: Judge) -> None:
    """A request of the day again, by the same role without that action; but for those that it does not ask
    for as AWS does, which are named."""
    unasked: set[str] = set()
    undenied: set[str] = set()
    for role in WORKING:
        of, asked = day.policies[role], day.of([role])
        requests = {one: request for request, one in asked if not one.implied}
        parts = list(without_actions(of))
        for part, denied in zip(parts, needed(judge, parts, [one for _, one in asked]), strict=True):
            own = [requests[one] for one in telling(of, [one for one in denied if one in requests])]
            if not own:
                unasked.add(part.taken[0].actions[0])
                continue
            day.account.allow(role.value, translated(part.less.document))
            if not any(is_denied(day, role, request) for request in own):
                undenied.add(part.name)
        day.account.allow(role.value, translated(of.document))
    assert (unasked, undenied) == (NEVER_ASKED, UNDENIED)


def test_no_call_of_pik_is_forgotten(day: Day) -> None:
    """Every method of a client that pik's adapters name has been called that day, and each line of the table
    of rights has been asked."""
    named = {xform_name(operation.name) for _, operation in day.calls}
    for file in AWS.glob("*.py"):
        assert calls(file) - named == BY_PEOPLE.get(file.name, set()), file.name
    assert {operation.full_name for _, operation in day.calls} == LISTED


def calls(file: Path) -> set[str]:
    """Methods of a client that the file names: what is `client.name`, in whatever way it is then called."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.strip("_") in CLIENTS or name in OTHER_CLIENTS:
                found.add(node.attr)
    return found - NO_CALLS


def is_denied(day: Day, role: Role, request: Request) -> bool:
    sts = day.account.root("sts")
    given = sts.assume_role(RoleArn=arn_of(role.value), RoleSessionName="again")["Credentials"]
    credentials = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    service = request.headers["authorization"].split("/")[3]
    headers = {name: value for name, value in request.headers.items() if name in _KEPT}
    again = AWSRequest(request.method, f"{day.account.endpoint}{request.path}", headers, request.body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(credentials, service, REGION).add_auth(again)
    answer = URLLib3Session(proxies={}).send(again.prepare())
    return answer.status_code == 403 or b"AccessDenied" in answer.content
