"""What the emulator does not judge as AWS does, and what a policy has to be turned into for it, named one by
one. What is here is not proved live, or proved under another name."""

from __future__ import annotations

from typing import Any

UNKNOWN_CONDITIONS = {"s3:if-none-match", "s3:if-match"}
"""Of requests it never says these, so that whatever asks for them is denied: left out."""

UNDENIED = {"Replace: s3:PutObject"}
"""What is allowed still where it is taken out, since another statement differs by such a condition alone."""

OTHER_NAMES = {
    "s3:DeleteObjectVersion": ("s3:DeleteObject",),  # for the first key of a DeleteObjects
    "sqs:SendMessage": ("sqs:SendMessageBatch",),
}
"""It asks for actions that AWS does not have, beside those that it has."""

WITHOUT_TABLE = {
    "dynamodb:ListTagsOfResource": "dynamodb:ListTagsOfResource",
    "dynamodb:PartiQLInsert": "dynamodb:BatchExecuteStatement",
    "dynamodb:TagResource": "dynamodb:TagResource",
    "athena:GetQueryExecution": "athena:GetQueryExecution",
    "athena:GetQueryResults": "athena:GetQueryResults",
    "athena:StopQueryExecution": "athena:StopQueryExecution",
    "glue:GetDatabase": "glue:GetDatabase",
}
"""What it asks for on every resource and not on the table, for PartiQL by a name that AWS does not have."""

NEVER_ASKED = {"kms:Decrypt", "kms:GenerateDataKey", "s3:PutObjectRetention"}
"""What AWS asks for beside the right to read or put an object that is encrypted or locked."""


def translated(policy: dict[str, Any]) -> dict[str, Any]:
    """For the emulator alone."""
    statements = []
    for statement in policy["Statement"]:
        actions = list(statement["Action"])
        anywhere = [WITHOUT_TABLE[action] for action in actions if action in WITHOUT_TABLE]
        actions += [other for action in actions for other in OTHER_NAMES.get(action, ())]
        statements.append({**statement, "Action": actions, "Condition": _known(statement)})
        if anywhere:
            sid = f"{statement['Sid']}Anywhere"
            statements.append({"Sid": sid, "Effect": "Allow", "Action": anywhere, "Resource": "*"})
    return {
        **policy,
        "Statement": [{name: value for name, value in one.items() if value} for one in statements],
    }


def _known(statement: dict[str, Any]) -> dict[str, Any]:
    conditions = {
        operator: {key: value for key, value in keys.items() if key not in UNKNOWN_CONDITIONS}
        for operator, keys in statement.get("Condition", {}).items()
    }
    return {operator: keys for operator, keys in conditions.items() if keys}
