"""The parts of pik that work in AWS, and the policy of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from pik.api.replay_job import ReplayJobSpec
from pik.planning.iam.parts import aggregate, assume, capture, keep, remove, replay, set_up
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.statements import Policy, Statement, policy_of
from pik.planning.iam.targets import send


class Role(StrEnum):
    """Operator, Gateway: the chart's processes. Worker: a pod of a ReplayJob; Aggregate: of an
    AggregateVersion. Ingest: the Lambda function. Tenant: what a stream's `roleARN` names."""

    OPERATOR = "operator"
    GATEWAY = "gateway"
    WORKER = "worker"
    AGGREGATE = "aggregate"
    INGEST = "ingest"
    TENANT = "tenant"


Part = Callable[[Place, Realm], list[Statement]]

_ON_A_STREAM: dict[Role, tuple[Part, ...]] = {
    Role.OPERATOR: (set_up, keep, remove),
    Role.GATEWAY: (capture,),
    Role.WORKER: (replay,),
    Role.AGGREGATE: (aggregate,),
    Role.INGEST: (capture,),
}
_TENANTS = (Role.OPERATOR, Role.GATEWAY, Role.WORKER, Role.AGGREGATE)
"""Parts that work in a stream's own role where it has one."""
SENDS = frozenset({Role.WORKER})


def policy(role: Role, places: Sequence[Place], jobs: Sequence[ReplayJobSpec], realm: Realm) -> Policy:
    """`places`: the streams that it is for; `jobs`: whose targets it sends to, of roles that send. A role's
    rights on a stream that has a role of its own are that role's: what it needs itself is to assume it."""
    statements: list[Statement] = []
    for place in places:
        if role is Role.TENANT:
            statements += [one for each in _TENANTS for one in _on(each, place, realm)]
        elif role in _TENANTS and place.role is not None:
            statements += assume(place)
        else:
            statements += _on(role, place, realm)
    if role in SENDS:
        statements += [one for job in jobs for one in send(job, realm)]
    return policy_of(statements)


def _on(role: Role, place: Place, realm: Realm) -> list[Statement]:
    return [one for part in _ON_A_STREAM[role] for one in part(place, realm)]
