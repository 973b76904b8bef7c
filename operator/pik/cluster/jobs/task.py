"""What a pod is told to do, in one environment variable: all that it needs to open the stream and to work,
without asking the API server, and never a secret."""

from __future__ import annotations

import msgspec

from pik.api.aggregate_version import KnownBy
from pik.execution.replay.settings import ShardSettings
from pik.execution.stream_task import StreamTask
from pik.planning.replay.pace import EffectivePace

TASK = "PIK_TASK"
"""Name of the environment variable."""


class ForbiddenTask(msgspec.Struct, frozen=True):
    """A network that nothing is sent to, and why, as an installation says it."""

    network: str
    why: str


class ReplayTask(msgspec.Struct, frozen=True, omit_defaults=True, tag="Replay", tag_field="kind"):
    """One shard of a run of the ReplayJob of this name; the pod's completion index says which. `pace`: the
    share of one pod. `memory`: what the pod may take. `grace`: seconds that the pod gets to come to a
    checkpoint. `loopback`: whether its own machine may be a target, as in a test; `networks`: what may
    not."""

    stream: StreamTask
    namespace: str
    name: str
    run_id: str
    plan_hash: str
    pace: EffectivePace
    grace: float
    memory: str | None = None
    loopback: bool = False
    networks: tuple[ForbiddenTask, ...] = ()
    settings: ShardSettings = ShardSettings()


class AggregateTask(msgspec.Struct, frozen=True, omit_defaults=True, tag="Aggregate", tag_field="kind"):
    """A version, and with `before` (a version) its difference from that. The definition is kept in the bucket
    under its hash. `athena`: the work group of Athena, where that computes it."""

    stream: StreamTask
    namespace: str
    name: str
    definition_hash: str
    known_by: KnownBy
    as_of: str | None = None
    before: str | None = None
    memory: str | None = None
    athena: str | None = None


Task = ReplayTask | AggregateTask


def encode_task(task: Task) -> str:
    """JSON."""
    return msgspec.json.encode(task).decode()


def decode_task(text: str) -> Task:
    """Raises ValueError for what is none."""
    decoded: Task = msgspec.json.decode(text, type=Task)
    return decoded
