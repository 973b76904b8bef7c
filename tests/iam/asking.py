"""Calls of AWS as rights see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from iam.operations import Operation

PARTITION = "aws"
WORK_GROUP = "primary"


@dataclass(frozen=True)
class Asked:
    """`who`: whose rights count. `of`: the operation. `implied`: it is asked for beside the operation's own
    action, because of what the request carries or meets."""

    who: str
    of: str
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()
    implied: bool = False

    @property
    def key(self) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
        """What makes a difference to a policy."""
        return self.who, self.action, self.resource, self.context


@dataclass
class Surroundings:
    """What a request does not say itself. `keys`: the KMS keys that buckets encrypt with, by bucket.
    `mappings`: ARNs of the functions that event source mappings are of, by their ids. `work_group`: in which
    the queries run that are asked after."""

    keys: Mapping[str, str] = field(default_factory=dict)
    mappings: Mapping[str, str] = field(default_factory=dict)
    work_group: str = WORK_GROUP


Ask = Callable[[Operation, Surroundings], Iterable[Asked]]


def asks(operation: Operation, action: str, resource: str, implied: bool = False, **context: str) -> Asked:
    named = tuple(
        sorted((name.replace("__", ":").replace("_", "-"), value) for name, value in context.items())
    )
    return Asked(operation.who, operation.full_name, action, resource, tuple(sorted(named)), implied)
