"""What the emulator does not judge as AWS does, and what a policy has to be turned into for it, named one by
one. What is here is not proved live, or proved under another name; docs/iam.md has it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNKNOWN_CONDITIONS = {"s3:if-none-match", "s3:if-match", "lambda:FunctionArn"}
"""Of requests it never says these, so that whatever asks for them is denied: left out."""

OTHER_NAMES = {
    "lambda:DeleteFunctionConcurrency": ("lambda:PutFunctionConcurrency",),
    "lambda:DeleteFunctionUrlConfig": ("lambda:CreateFunctionUrlConfig",),
    "lambda:GetAlias": ("lambda:ListAliases",),
    "lambda:UpdateAlias": ("lambda:ListAliases",),
    "lambda:UpdateFunctionUrlConfig": ("lambda:CreateFunctionUrlConfig",),
    "s3:DeleteObjectVersion": ("s3:DeleteObject",),  # for the first key of a DeleteObjects
    "sqs:SendMessage": ("sqs:SendMessageBatch",),
}
"""It asks for other actions, instead or besides; some are none that AWS has."""

ANYWHERE = {
    "dynamodb:ListTagsOfResource": "dynamodb:ListTagsOfResource",
    "dynamodb:PartiQLInsert": "dynamodb:BatchExecuteStatement",
    "dynamodb:TagResource": "dynamodb:TagResource",
    "athena:GetQueryExecution": "athena:GetQueryExecution",
    "athena:GetQueryResults": "athena:GetQueryResults",
    "athena:StopQueryExecution": "athena:StopQueryExecution",
    "glue:GetDatabase": "glue:GetDatabase",
    "events:ListTagsForResource": "events:ListTagsForResource",
    "events:ListTargetsByRule": "events:ListTargetsByRule",
    "events:PutTargets": "events:PutTargets",
    "events:RemoveTargets": "events:RemoveTargets",
    "events:TagResource": "events:TagResource",
    "lambda:CreateFunction": "lambda:CreateFunction",
}
"""It does not ask for them on what AWS does: allowed on everything; PartiQL by a name that AWS has not."""

NEVER_ASKED = {
    "iam:PassRole",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "lambda:ListTags",
    "s3:PutObjectRetention",
}
"""What AWS asks for beside an operation's own action, and the emulator does not."""

UNDENIED = {
    "Replace: s3:PutObject",
    "Deploy: lambda:DeleteFunctionConcurrency",
    "Deploy: lambda:GetAlias",
    "Deploy: lambda:UpdateAlias",
    "Url: lambda:CreateFunctionUrlConfig",
    "Url: lambda:DeleteFunctionUrlConfig",
    "Url: lambda:UpdateFunctionUrlConfig",
    # of mappings that are there it asks for nothing
    "Map: lambda:DeleteEventSourceMapping",
    "Map: lambda:UpdateEventSourceMapping",
}
"""What is allowed still where it is taken out: what is left is turned into the same, or nothing is asked."""

_FUNCTION = ":function:"


def translated(policy: dict[str, Any]) -> dict[str, Any]:
    """For the emulator alone."""
    statements = []
    for statement in policy["Statement"]:
        actions = list(statement["Action"])
        anywhere = [ANYWHERE[action] for action in actions if action in ANYWHERE]
        actions += [other for action in actions for other in OTHER_NAMES.get(action, ())]
        there = {"Resource": _unqualified(statement["Resource"]), "Condition": _known(statement)}
        statements.append({**statement, "Action": actions, **there})
        if anywhere:
            sid = f"{statement['Sid']}Anywhere"
            statements.append({"Sid": sid, "Effect": "Allow", "Action": anywhere, "Resource": "*"})
    whole = [{name: value for name, value in one.items() if value} for one in statements]
    return {**policy, "Statement": whole}


def _unqualified(resources: Sequence[str]) -> list[str]:
    """It asks for a function's versions and aliases as for the function."""
    bare = [each.removesuffix(":*") for each in resources if _FUNCTION in each]
    return sorted({*resources, *bare})


def _known(statement: dict[str, Any]) -> dict[str, Any]:
    conditions = {
        operator: {key: value for key, value in keys.items() if key not in UNKNOWN_CONDITIONS}
        for operator, keys in statement.get("Condition", {}).items()
    }
    return {operator: keys for operator, keys in conditions.items() if keys}
