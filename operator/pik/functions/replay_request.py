"""What `replay` is asked, as the ReplayJob that asks the same: both have one plan and, by name and runKey,
one run, so that whoever applies the manifest goes on with what the function began. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

import msgspec
import pydantic

from pik.api.common import API_VERSION
from pik.api.replay_job import Duplicates, Mode, ReplayJob, ReplayJobSpec, StaleAction
from pik.api.targets import TargetType
from pik.domain.errors import PikError
from pik.domain.instants import InvalidInstant, parse_instant
from pik.execution.stream_task import StreamTask
from pik.planning.replay.spec import ReplaySpec, replay_spec, run_id


class InvalidRequest(PikError):
    """What was sent is no request; the text says which field, and why."""


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kit's call: the events of an entity from `start_time` to before `end_time` (RFC 3339).

    Beyond the kit: `dry_run` shows what would be sent, `plan` (its hash) sends exactly what was shown, and
    `run_key` names the run, which is sent once, instead of the invocation's own id."""

    entity_id: Annotated[str, msgspec.Meta(min_length=1)]
    start_time: str
    end_time: str
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    include_duplicates: bool = False
    dry_run: bool = False
    run_key: str | None = None
    plan: str | None = None


class Job(msgspec.Struct, frozen=True):
    """The ReplayJob that asks the same."""

    namespace: str
    name: str
    spec: ReplayJobSpec

    @property
    def planned(self) -> ReplaySpec:
        return replay_spec(self.spec, self.namespace)

    def run_id(self, stream_id: str) -> str:
        return run_id(stream_id, self.namespace, self.name, self.spec.runKey)

    def manifest(self, mode: Mode) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": ReplayJob.KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                **self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "mode": mode.value,
            },
        }


def read_request(event: Mapping[str, Any]) -> ReplayRequest:
    """Raises `InvalidRequest`."""
    try:
        request = msgspec.convert(dict(event), ReplayRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from error
    if request.plan is not None and request.run_key is None:
        raise InvalidRequest("plan needs the run_key that it was shown under")
    return request


def job_of(
    request: ReplayRequest, stream: StreamTask, queue_url: str, on_stale: StaleAction, request_id: str
) -> Job:
    """Raises `InvalidRequest`."""
    start, end = (_instant(name, getattr(request, name)) for name in ("start_time", "end_time"))
    run_key = request.run_key or request_id
    select: dict[str, Any] = {"entities": [request.entity_id], "window": {"from": start, "to": end}}
    if request.limit is not None:
        select["limit"] = request.limit
    if request.include_duplicates:
        select["duplicates"] = Duplicates.ALL
    spec = {
        "streamRef": {"name": stream.name},
        "select": select,
        "target": {"type": TargetType.SQS, "sqs": {"queueURL": queue_url}},
        "onStale": on_stale,
        "runKey": run_key,
    }
    try:
        made = ReplayJobSpec.model_validate(spec)
        replay_spec(made, stream.namespace)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{_NAMES.get(place, place)}: {first['msg']}") from error
    except ValueError as error:
        raise InvalidRequest("start_time must be before end_time") from error
    name = f"replay-{sha256(run_key.encode()).hexdigest()[:16]}"
    return Job(stream.namespace, name, made)


_NAMES = {"runKey": "run_key", "select.limit": "limit", "select.entities.0": "entity_id"}


def _instant(name: str, text: str) -> str:
    try:
        instant = parse_instant(text)
    except InvalidInstant as error:
        raise InvalidRequest(f"{name}: {error}") from error
    if instant.rest:
        raise InvalidRequest(f"{name}: at most 6 digits of a second are taken")
    return instant.text
