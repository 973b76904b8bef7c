"""IAM statements, and a policy of them with nothing in it twice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

MANAGED_SIZE = 6_144
"""Characters of a managed policy, white space not counted (IAM quotas); an inline one of a role: 10,240."""


class Condition(msgspec.Struct, frozen=True, order=True):
    """`values`: any of them will do."""

    operator: str
    key: str
    values: tuple[str, ...]


class Statement(msgspec.Struct, frozen=True):
    """Allows the actions on the resources where all conditions hold. `unproved`: why no test can see the
    call that it is for; empty where one does."""

    sid: str  # letters and digits
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    unproved: str = ""

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        if self.conditions:
            wanted: dict[str, dict[str, Any]] = {}
            for condition in self.conditions:
                values = list(condition.values)
                wanted.setdefault(condition.operator, {})[condition.key] = values if values[1:] else values[0]
            found["Condition"] = wanted
        return found


class Policy(msgspec.Struct, frozen=True):
    statements: tuple[Statement, ...]

    @property
    def document(self) -> dict[str, Any]:
        """As IAM takes it."""
        return {"Version": "2012-10-17", "Statement": [one.document for one in self.statements]}

    @property
    def size(self) -> int:
        """Characters, as IAM counts them."""
        return len(msgspec.json.encode(self.document))


def policy_of(statements: Iterable[Statement]) -> Policy:
    """One policy of what several need: what another statement allows too is left out, and what is alike is
    put together, in the order in which it was named first."""
    given = list(statements)
    together: dict[_Alike, list[str]] = defaultdict(list)
    for one in _single(given):
        alike = _alike(one)
        if not _is_covered(one, given) and one.resources[0] not in together[alike]:
            together[alike].append(one.resources[0])
    sids = {_alike(one): one.sid for one in reversed(_single(given))}
    found: dict[tuple[str, tuple[str, ...], _Alike], list[str]] = defaultdict(list)
    for alike, resources in together.items():
        if resources:
            found[sids[alike], tuple(sorted(resources)), alike._replace(action="")].append(alike.action)
    return Policy(
        tuple(
            _named_apart(
                Statement(sid, tuple(sorted(actions)), resources, alike.conditions, alike.unproved)
                for (sid, resources, alike), actions in found.items()
            )
        )
    )


class _Alike(NamedTuple):
    action: str
    conditions: tuple[Condition, ...]
    unproved: str


def _alike(one: Statement) -> _Alike:
    return _Alike(one.actions[0], one.conditions, one.unproved)


def matches(pattern: str, text: str) -> bool:
    """As IAM matches resources: `*` is any text, `?` any character."""
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, text, re.DOTALL) is not None


def _single(statements: Iterable[Statement]) -> list[Statement]:
    """One action on one resource each."""
    return [
        msgspec.structs.replace(one, actions=(action,), resources=(resource,))
        for one in statements
        for action in one.actions
        for resource in one.resources
    ]


def _is_covered(one: Statement, others: Iterable[Statement]) -> bool:
    """Whether another allows it wherever this one does, and is not less proved. Of two that say the same,
    both are kept, to be put together."""
    (resource,) = one.resources
    return any(
        one.actions[0] in other.actions
        and other.conditions in ((), one.conditions)
        and (not other.unproved or bool(one.unproved))
        and any(
            matches(pattern, resource)
            and (pattern != resource or other.conditions != one.conditions or _is_proved_more(other, one))
            for pattern in other.resources
        )
        for other in others
    )


def _is_proved_more(one: Statement, other: Statement) -> bool:
    return not one.unproved and bool(other.unproved)


def _named_apart(statements: Iterable[Statement]) -> list[Statement]:
    """A policy has no Sid twice."""
    seen: dict[str, int] = defaultdict(int)
    found = []
    for one in statements:
        seen[one.sid] += 1
        number = seen[one.sid]
        found.append(one if number == 1 else msgspec.structs.replace(one, sid=f"{one.sid}{number}"))
    return found
