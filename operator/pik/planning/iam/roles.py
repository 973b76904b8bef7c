"""The parts of pik that work in AWS, and the policy of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from pik.api.replay_job import ReplayJob, ReplayJobSpec
from pik.planning.iam.functions import connect, deploy, ingest, processor, replaying
from pik.planning.iam.parts import aggregate, assume, capture, keep, keep_table, query, remove, replay, set_up
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.statements import Policy, Statement, policy_of
from pik.planning.iam.targets import read_back, send


class Role(StrEnum):
    """Operator, Gateway: the chart's processes. Worker: a pod of a ReplayJob; Aggregate: of an
    AggregateVersion. Ingest, Replay, Processor: the Lambda functions. Tenant: what a stream's `roleARN`
    names."""

    OPERATOR = "operator"
    GATEWAY = "gateway"
    WORKER = "worker"
    AGGREGATE = "aggregate"
    INGEST = "ingest"
    REPLAY = "replay"
    PROCESSOR = "processor"
    TENANT = "tenant"


Part = Callable[[Place, Realm], list[Statement]]

_ON_A_STREAM: dict[Role, tuple[Part, ...]] = {
    Role.OPERATOR: (set_up, keep, deploy, connect, remove),
    Role.GATEWAY: (capture,),
    Role.WORKER: (replay,),
    Role.AGGREGATE: (aggregate,),
    Role.INGEST: (ingest,),
    Role.REPLAY: (replaying,),
    Role.PROCESSOR: (processor,),
}
_BY_ATHENA = {Role.OPERATOR: keep_table, Role.AGGREGATE: query}
_TENANTS = (Role.OPERATOR, Role.GATEWAY, Role.WORKER, Role.AGGREGATE)
"""Parts that work in a stream's own role where it has one."""
_OF_A_JOB: dict[Role, Callable[[ReplayJobSpec, Realm], list[Statement]]] = {
    Role.OPERATOR: read_back,
    Role.TENANT: read_back,
    Role.WORKER: send,
}
SENDS = frozenset({Role.WORKER})
FUNCTIONS = frozenset({Role.INGEST, Role.REPLAY, Role.PROCESSOR})


def policy(
    role: Role,
    places: Sequence[Place],
    jobs: Sequence[ReplayJob],
    realm: Realm,
    work_groups: Sequence[str] = (),
) -> Policy:
    """`places`: the streams that it is for; `jobs`: the replays; `work_groups`: of Athena, that versions are
    computed in. A role's rights on a stream that has a role of its own are that role's: what it needs itself
    is to assume it. A target is sent to with the worker's own rights, and read back with those of the
    stream."""
    statements: list[Statement] = []
    for place in places:
        if role is Role.TENANT:
            statements += [one for each in _TENANTS for one in _on(each, place, realm, work_groups)]
        elif role in _TENANTS and place.role is not None:
            statements += assume(place)
        else:
            statements += _on(role, place, realm, work_groups)
    of_a_job = _OF_A_JOB.get(role)
    if of_a_job is not None:
        theirs = {place.stream for place in places if place.role is not None}
        for job in jobs:
            if role is not Role.OPERATOR or _stream_of(job) not in theirs:
                statements += of_a_job(job.spec, realm)
    return policy_of(statements)


def _stream_of(job: ReplayJob) -> str:
    """As namespace/name."""
    return f"{job.spec.streamRef.namespace or job.metadata.namespace}/{job.spec.streamRef.name}"


def _on(role: Role, place: Place, realm: Realm, work_groups: Sequence[str]) -> list[Statement]:
    found = [one for part in _ON_A_STREAM[role] for one in part(place, realm)]
    if role in _BY_ATHENA:
        found += _BY_ATHENA[role](place, realm, work_groups)
    return found
