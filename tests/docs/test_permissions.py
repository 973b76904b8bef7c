"""The IAM policies on the page about installing are those of the calls that pik makes: no more, no less."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path

from docs.pages import DOCS, ROOT, blocks

AWS = ROOT / "operator" / "pik" / "aws"
ACTIONS = {  # of calls; IAM's words are not always those of the API
    "batch_execute_statement": {"dynamodb:PartiQLInsert"},
    "batch_get_item": {"dynamodb:BatchGetItem"},
    "create_bucket": {"s3:CreateBucket"},
    "create_table": {"dynamodb:CreateTable"},
    "delete_bucket": {"s3:DeleteBucket"},
    "delete_item": {"dynamodb:DeleteItem"},
    "delete_objects": {"s3:DeleteObject", "s3:DeleteObjectVersion"},
    "delete_table": {"dynamodb:DeleteTable"},
    "describe_continuous_backups": {"dynamodb:DescribeContinuousBackups"},
    "describe_table": {"dynamodb:DescribeTable"},
    "describe_time_to_live": {"dynamodb:DescribeTimeToLive"},
    "get_bucket_encryption": {"s3:GetEncryptionConfiguration"},
    "get_bucket_lifecycle_configuration": {"s3:GetLifecycleConfiguration"},
    "get_bucket_tagging": {"s3:GetBucketTagging"},
    "get_bucket_versioning": {"s3:GetBucketVersioning"},
    "get_item": {"dynamodb:GetItem"},
    "get_object": {"s3:GetObject"},
    "get_object_lock_configuration": {"s3:GetBucketObjectLockConfiguration"},
    "get_public_access_block": {"s3:GetBucketPublicAccessBlock"},
    "head_bucket": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "list_object_versions": {"s3:ListBucketVersions"},
    "list_objects_v2": {"s3:ListBucket"},
    "list_tags_of_resource": {"dynamodb:ListTagsOfResource"},
    "put_bucket_encryption": {"s3:PutEncryptionConfiguration"},
    "put_bucket_lifecycle_configuration": {"s3:PutLifecycleConfiguration"},
    "put_bucket_tagging": {"s3:PutBucketTagging"},
    "put_bucket_versioning": {"s3:PutBucketVersioning"},
    "put_item": {"dynamodb:PutItem"},
    "put_object": {"s3:PutObject"},
    "put_object_lock_configuration": {"s3:PutBucketObjectLockConfiguration"},
    "put_public_access_block": {"s3:PutBucketPublicAccessBlock"},
    "query": {"dynamodb:Query"},
    "tag_resource": {"dynamodb:TagResource"},
    "transact_write_items": {"dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"},
    "update_continuous_backups": {"dynamodb:UpdateContinuousBackups"},
    "update_table": {"dynamodb:UpdateTable"},
    "update_time_to_live": {"dynamodb:UpdateTimeToLive"},
}
SETTING_UP = ("bucket_settings.py", "table_settings.py", "provisioner.py")  # the operator alone
EVENTS = ("s3_objects.py", "dynamo_table.py", "dynamo_index.py", "index_items.py", "quick.py")
NO_CALLS = {"meta", "exceptions", "close", "generate_presigned_url", "_endpoint"}


def calls(file: Path) -> set[str]:
    """Methods of a client that the file names: what is `client.name`, in whatever way it is then called."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.strip("_") in ("client", "s3", "dynamodb"):
                found.add(node.attr)
    return found - NO_CALLS - {"scan"}  # only `pik verify` scans, for a person


def actions(files: Iterable[str]) -> set[str]:
    return {action for file in files for call in calls(AWS / file) for action in ACTIONS[call]}


def policies() -> list[set[str]]:
    """The actions of each policy on the page."""
    read = [json.loads(block.text)["Statement"] for block in blocks(DOCS / "install.md", "json")]
    return [{action for statement in policy for action in statement["Action"]} for policy in read]


def test_the_operator_gets_what_it_calls() -> None:
    operator, _ = policies()
    assert operator == actions((*SETTING_UP, *EVENTS))


def test_gateway_and_workers_get_what_they_call() -> None:
    _, events = policies()
    assert events == actions(EVENTS)


def test_every_file_that_calls_aws_is_looked_at() -> None:
    """Targets and orphans have sentences of their own."""
    targets = {
        "sqs_sink.py": {"send_message_batch"},
        "kinesis_sink.py": {"put_records"},
        "event_bridge_sink.py": {"put_events"},
    }
    calling = {file.name for file in AWS.glob("*.py") if calls(file)}
    assert calling - {*targets, "inventory.py", "whole.py"} <= {*SETTING_UP, *EVENTS}
    assert {name: calls(AWS / name) for name in targets} == targets
