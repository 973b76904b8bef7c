"""Statements without a word that says nothing, with the names that manifests say."""

from __future__ import annotations

import json
import re

import pytest

from docs.pages import ROOT
from iam.emulated import ANYWHERE, NEVER_ASKED, OTHER_NAMES, UNDENIED, UNKNOWN_CONDITIONS
from iam.judge import HERE
from pik.api.capture_stream import CaptureStream
from pik.api.targets import TargetType
from pik.planning.iam.places import Place, Realm, place_of
from pik.planning.iam.roles import Role, policy
from pik.planning.iam.statements import Condition, Statement, matches, policy_of
from pik.planning.iam.targets import SENDING, queue_arn

EU = "arn:aws:sqs:eu-west-1:123456789012:"
NEW = (Condition("Null", "s3:if-none-match", ("false",)),)


def flat(*statements: Statement) -> list[tuple[str, str, str]]:
    return [
        (one.sid, " ".join(one.actions), " ".join(one.resources)) for one in policy_of(statements).statements
    ]


def test_what_another_statement_allows_is_left_out() -> None:
    assert flat(
        Statement("A", ("s3:GetObject",), ("b/p/*",)), Statement("B", ("s3:GetObject",), ("b/p/raw/*",))
    ) == [("A", "s3:GetObject", "b/p/*")]
    assert flat(Statement("A", ("x:A", "x:B"), ("t",)), Statement("B", ("x:B",), ("t",))) == [
        ("A", "x:A x:B", "t")
    ]


def test_a_condition_is_not_lost() -> None:
    with_one = Statement("A", ("s3:PutObject",), ("b/*",), NEW)
    assert flat(with_one, Statement("B", ("s3:PutObject",), ("b/x",))) == [
        ("A", "s3:PutObject", "b/*"),
        ("B", "s3:PutObject", "b/x"),
    ]
    assert flat(with_one, Statement("B", ("s3:PutObject",), ("b/*",))) == [("B", "s3:PutObject", "b/*")]


def test_what_is_proved_stands_for_what_is_not() -> None:
    proved, not_here = Statement("A", ("x:A",), ("t",)), Statement("B", ("x:A", "x:B"), ("t",), unproved="so")
    assert flat(not_here, proved) == [("B", "x:B", "t"), ("A", "x:A", "t")]
    wide = Statement("B", ("x:A",), ("*",), unproved="so")
    assert flat(wide, proved) == [("B", "x:A", "*"), ("A", "x:A", "t")]


def test_what_is_alike_is_put_together_and_no_sid_is_there_twice() -> None:
    assert flat(
        Statement("A", ("x:A", "x:B"), ("s",)),
        Statement("A", ("x:A",), ("t",)),
        Statement("C", ("x:C",), ("s",), NEW),
    ) == [("A", "x:A", "s t"), ("A2", "x:B", "s"), ("C", "x:C", "s")]


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a/*", "a/b/c", True),
        ("a/*", "a", False),
        ("a?", "ab", True),
        ("a.c", "abc", False),
        ("pik-*/*/raw/*", "pik-x/p/q/raw/stream=1/y", True),
    ],
)
def test_patterns_match_as_iam_has_it(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@pytest.mark.parametrize(
    ("url", "arn"),
    [
        (
            "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo",
            "arn:aws:sqs:eu-west-1:123456789012:q.fifo",
        ),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/q", EU + "q"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "arn:aws:sqs:cn-north-1:123456789012:q"),
        ("http://127.0.0.1:4566/000000000000/q", "arn:aws:sqs:*:000000000000:q"),
    ],
)
def test_a_queues_arn_is_in_its_url(url: str, arn: str) -> None:
    assert queue_arn(url, Realm()) == arn


def test_every_target_says_what_it_takes() -> None:
    assert SENDING.keys() == set(TargetType)


def stream(**status: object) -> CaptureStream:
    return CaptureStream.from_manifest(
        {
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"storage": {"prefix": "a/b"}},
            "status": status,
        }
    )


def test_names_are_as_precise_as_what_is_known() -> None:
    place = place_of(stream(), None)
    assert (place.bucket, place.table) == ("pik-shop-orders-*", "pik-orders-*")
    assert place.outer == ("", "a/")
    assert place_of(stream(), "prod").bucket == "pik-shop-orders-af29a95366eaea3a"
    there = place_of(stream(storage={"bucket": "b", "prefix": "a/b"}, index={"table": "t"}), None)
    assert (there.bucket, there.table) == ("b", "t")


FED = {
    "storage": {"prefix": "a"},
    "ingest": {
        "lambda": {"roleARN": "arn:aws:iam::123456789012:role/ingest"},
        "sources": [
            {"name": "own", "type": "SQS", "sqs": {}},
            {"name": "old", "type": "S3", "s3": {"bucket": "old", "prefix": "2025/", "format": "CSV"}},
        ],
    },
}


@pytest.mark.parametrize(("stream_id", "named"), [(None, "*"), ("0123456789abcdef" * 2, "0123456789ab")])
def test_what_feeds_a_stream_is_named_as_it_will_be(stream_id: str | None, named: str) -> None:
    status = {} if stream_id is None else {"streamID": stream_id}
    resource = CaptureStream.from_manifest(
        {"metadata": {"name": "orders", "namespace": "shop"}, "spec": FED, "status": status}
    )
    feed = place_of(resource, None).feed
    assert [one.name for one in feed.functions] == [f"pik-shop-orders-{named}-ingest"]
    assert feed.queues == (f"pik-shop-orders-{named}-own", f"pik-shop-orders-{named}-own_dlq")
    assert feed.objects == (("old", "2025/"),)
    found = policy(Role.OPERATOR, [place_of(resource, None)], [], Realm()).statements
    passed = [one.resources for one in found if "iam:PassRole" in one.actions]
    assert passed == [("arn:aws:iam::123456789012:role/ingest",)]
    written = [resource for one in found if one.sid == "Write" for resource in one.resources]
    assert any(resource.endswith("/raw/*") for resource in written)  # of the objects


def test_a_function_of_a_stream_with_a_role_keeps_what_it_does_itself() -> None:
    place = Place(role="arn:aws:iam::123456789012:role/shop")
    found = policy(Role.INGEST, [place], [], Realm()).statements
    assert {action for one in found for action in one.actions} == {
        *("sts:AssumeRole", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    }


def test_a_stream_with_a_role_takes_the_right_to_assume_it_and_no_other() -> None:
    arn = "arn:aws:iam::123456789012:role/shop"
    for role in (Role.OPERATOR, Role.GATEWAY, Role.WORKER, Role.AGGREGATE):
        (statement,) = policy(role, [Place(role=arn)], [], Realm()).statements
        assert (statement.actions, statement.resources) == (("sts:AssumeRole",), (arn,))


def test_the_evaluator_comes_from_no_address_of_its_own() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"].values()
    assert len(packages) > 1
    assert [one for one in packages if "resolved" in one] == []
    assert all("integrity" in one for one in packages if "version" in one)


def test_the_page_names_what_is_not_proved_live() -> None:
    page = (ROOT / "docs" / "iam.md").read_text()
    (table,) = re.findall(r"<!-- checked: not live -->\n(.*?)<!-- end -->", page, re.DOTALL)
    named = {word for row in table.splitlines() for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    by_nothing = {"lambda:UpdateEventSourceMapping", "lambda:DeleteEventSourceMapping"}
    assert by_nothing <= {part.partition(": ")[2] for part in UNDENIED}
    assert named - by_nothing == {*UNKNOWN_CONDITIONS, *OTHER_NAMES, *ANYWHERE, *NEVER_ASKED}
