"""What a day came to: who had which policy, and asked for what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from iam.account import Account
from iam.asked import asked_by
from iam.asking import WORK_GROUP, Asked, Surroundings
from iam.operations import Operation, operation_of
from iam.scenes import CLUSTER, Script
from iam.wire import Request
from pik.api.capture_stream import CaptureStream
from pik.api.replay_job import ReplayJob
from pik.planning.iam.places import Place, Realm, place_of
from pik.planning.iam.roles import Role, policy
from pik.planning.iam.statements import Policy

_STREAMS = {
    Role.WORKER: ("orders",),
    Role.AGGREGATE: ("orders",),
    Role.INGEST: ("orders", "locked", "fed"),
    Role.REPLAY: ("orders", "fed"),
    Role.PROCESSOR: ("orders", "fed"),
    Role.TENANT: ("theirs",),
}
"""That a role works on; every stream where it is not said."""


@dataclass
class Day:
    account: Account
    script: Script
    policies: dict[Role, Policy]
    requests: list[Request]
    calls: list[tuple[Request, Operation]] = field(init=False)

    def __post_init__(self) -> None:
        read = [(request, operation_of(request)) for request in self.requests]
        # that a part of pik is in its role at all is the test's own doing
        self.calls = [
            (request, operation)
            for request, operation in read
            if operation.given.get("RoleArn", "").rpartition("/")[2] != operation.who
        ]

    @cached_property
    def asked(self) -> list[tuple[Request, Asked]]:
        """With one request for all that are alike to a policy; of these one whose own action it is, if there
        is one."""
        keys = {place.bucket: place.kms_key for place in places_of(self.script) if place.kms_key is not None}
        functions = {
            made["UUID"]: operation.given["FunctionName"]
            for request, operation in self.calls
            if operation.name == "CreateEventSourceMapping" and (made := json.loads(request.answer))
        }
        around = Surroundings(keys, functions)
        found: dict[object, tuple[Request, Asked]] = {}
        for request, operation in self.calls:
            for one in asked_by(operation, around):
                if one.key not in found or (found[one.key][1].implied and not one.implied):
                    found[one.key] = (request, one)
        return list(found.values())

    def of(self, roles: Iterable[Role]) -> list[tuple[Request, Asked]]:
        return [(request, one) for request, one in self.asked if one.who in set(roles)]


def places_of(script: Script, names: Iterable[str] | None = None) -> list[Place]:
    streams = [one for one in script.resources if isinstance(one, CaptureStream)]
    wanted = None if names is None else set(names)
    return [place_of(one, CLUSTER) for one in streams if wanted is None or one.metadata.name in wanted]


def policies_of(script: Script) -> dict[Role, Policy]:
    """By the manifests alone, as `pik iam` has them."""
    jobs = [one for one in script.resources if isinstance(one, ReplayJob)]
    return {
        role: policy(role, places_of(script, _STREAMS.get(role)), jobs, Realm(), [WORK_GROUP])
        for role in Role
    }
