"""Where a stream lies, for a process that does not ask an API server: a pod of a Job, a Lambda function."""

from __future__ import annotations

import msgspec

from pik.execution.stream import Deduplication


class RoleTask(msgspec.Struct, frozen=True):
    """A role that is assumed for a stream's bucket and table, with the rights of the pod's ServiceAccount."""

    arn: str
    external_id: str
    session: str


class StreamTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a stream lies, and what was declared about it. `prefix`: of its keys, without a slash at the end;
    `epoch`: of the owner for whom the work is done."""

    namespace: str
    name: str
    stream_id: str
    bucket: str
    prefix: str
    table: str
    deduplication: Deduplication
    epoch: int | None = None
    region: str | None = None
    retention_days: int | None = None
    fingerprint_exclude: tuple[str, ...] = ()
    role: RoleTask | None = None
