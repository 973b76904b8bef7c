"""From an object and its run to a Job: pure, and checked against batch/v1 of Kubernetes 1.35.

A Job is named by run and attempt. It has no TTL at creation: that is set when its outcome is on record. Its
annotation `pik.dev/digest` is of all whose change makes another attempt necessary; suspension and parallelism
are not among that, since a Job can change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from pik.api.aggregate_version import AggregateVersion
from pik.api.common import API_VERSION
from pik.api.execution import Execution
from pik.api.replay_job import ErrorAction, ReplayJob
from pik.cluster.api import Object
from pik.cluster.jobs.resources import memory_of, resources_of
from pik.cluster.jobs.secrets import SECRETS
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.task import (
    TASK,
    AggregateTask,
    ForbiddenTask,
    ReplayTask,
    Task,
    encode_task,
)
from pik.cluster.jobs.verdicts import ExitCode
from pik.controller.athena import work_group_of
from pik.controller.objects import ObjectKey
from pik.controller.runs import Question, Run
from pik.controller.tasks import stream_task
from pik.controller.workshop import OpenStream
from pik.execution.stream_task import RoleTask, StreamTask
from pik.planning.replay.pace import share
from pik.planning.roles import session_name

RUN = "pik.dev/run"
NAME = "pik.dev/name"
KIND = "pik.dev/kind"
MANAGED_BY = {"app.kubernetes.io/managed-by": "pik"}
_COMMON = {
    **MANAGED_BY,
    "app.kubernetes.io/name": "pik",
    "app.kubernetes.io/component": "worker",
}
OBJECT = "pik.dev/object"
DIGEST = "pik.dev/digest"
ATTEMPT = "pik.dev/attempt"
OUT_OF_MEMORY = "pik.dev/out-of-memory"  # set when that is seen: the pods that say so may go with their node

QUEUES = "kueue.x-k8s.io/"
"""Labels that begin with this are a queue system's; they are copied to the Job."""
QUEUE_NAME = "kueue.x-k8s.io/queue-name"

CONTAINER = "worker"
SCRATCH = "/scratch"
_LABEL = 63  # characters of a label's value, and of a Job's name where its pods have host names
_USAGE_ERRORS = sorted([ExitCode.USAGE, ExitCode.MISCONFIGURED])
_KILLED = 137  # by the kernel where memory ran out


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Job that is wanted. `spec`: without suspension, parallelism and what depends on the attempt."""

    key: ObjectKey
    uid: str
    run: str  # or definition hash
    digest: str
    labels: Mapping[str, str]  # a queue system's
    spec: Mapping[str, Any]
    parallelism: int
    shards: int
    image: str

    @property
    def queued(self) -> bool:
        """Whether a queue system decides when it may run."""
        return QUEUE_NAME in self.labels


def wanted_replay(run: Run, settings: JobSettings) -> Wanted:
    """The Job of a run: an index for each shard. Raises `RoleNotAllowed`."""
    resource, execution = run.resource, run.resource.spec.execution
    resources = resources_of(execution, cpu=settings.cpu, memory=settings.memory, exact=None)
    task = ReplayTask(
        stream=_stream(run.opened, settings),
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        run_id=run.id,
        plan_hash=run.record.plan_hash,
        pace=share(run.pace, resource.spec.parallelism),
        grace=settings.grace - 5.0,
        memory=memory_of(resources),
        loopback=settings.loopback,
        networks=tuple(ForbiddenTask(str(one.network), one.why) for one in settings.networks),
    )
    secret = run.spec.target.secret
    indexed: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": run.spec.shards,
        "backoffLimitPerIndex": run.spec.retries_per_shard,
        "podReplacementPolicy": "Failed",  # two pods of a shard would wait for each other
        "podFailurePolicy": {"rules": _replay_rules()},
    }
    if run.spec.on_error is ErrorAction.STOP:
        indexed["maxFailedIndexes"] = 0
    return _wanted(
        resource,
        run.id,
        task,
        execution,
        settings,
        settings.grace,
        resources,
        indexed,
        secret,
        parallelism=resource.spec.parallelism,
        shards=run.spec.shards,
    )


def wanted_aggregate(question: Question, settings: JobSettings) -> Wanted:
    """The Job that answers a question, and compares the answer with the version that it names. Raises
    `RoleNotAllowed`."""
    resource, execution = question.resource, question.resource.spec.execution
    exact = None if execution is None else execution.memory
    resources = resources_of(execution, cpu=settings.cpu, memory=settings.aggregate_memory, exact=exact)
    task = AggregateTask(
        stream=_stream(question.opened, settings),
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        definition_hash=question.definition.hash,
        known_by=resource.spec.knownBy,
        as_of=resource.spec.asOf,
        before=question.before,
        memory=memory_of(resources),
        athena=work_group_of(resource),
    )
    single: dict[str, Any] = {
        "completions": 1,
        "backoffLimit": 3,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _aggregate_rules()},
    }
    return _wanted(
        resource,
        question.definition.hash,
        task,
        execution,
        settings,
        settings.aggregate_grace,
        resources,
        single,
        None,
        parallelism=1,
        shards=1,
    )


def job_manifest(wanted: Wanted, attempt: int) -> Object:
    """The Job to create. One that a queue system manages is created suspended."""
    labels = {**_COMMON, **_own_labels(wanted)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": _job_name(wanted, attempt),
            "namespace": wanted.key.namespace,
            "labels": {**labels, **wanted.labels},
            "annotations": {OBJECT: wanted.key.name, DIGEST: wanted.digest, ATTEMPT: str(attempt)},
            # no blockOwnerDeletion: it would need a right on the owner's finalizers where that is checked
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": wanted.key.kind,
                    "name": wanted.key.name,
                    "uid": wanted.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {**wanted.spec, "parallelism": wanted.parallelism, "suspend": wanted.queued},
    }


def selector_of(key: ObjectKey) -> str:
    """A label selector of an object's Jobs and pods; another object, whose name has the same beginning, may
    share it."""
    labels = {**MANAGED_BY, KIND: key.kind, NAME: _label(key.name)}
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _wanted(
    resource: ReplayJob | AggregateVersion,
    run: str,
    task: Task,
    execution: Execution | None,
    settings: JobSettings,
    grace: int,
    resources: dict[str, Any],
    spec: dict[str, Any],
    secret: str | None,
    *,
    parallelism: int,
    shards: int,
) -> Wanted:
    queue = {name: value for name, value in resource.metadata.labels.items() if name.startswith(QUEUES)}
    key = ObjectKey(resource.KIND, resource.metadata.namespace, resource.metadata.name)
    identity = [
        encode_task(task),
        None if execution is None else execution.model_dump(mode="json", by_alias=True, exclude_none=True),
        queue,
    ]
    wanted = Wanted(
        key=key,
        uid=resource.metadata.uid or "",
        run=run,
        digest=sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest(),
        labels=queue,
        spec=spec,
        parallelism=parallelism,
        shards=shards,
        image=settings.image,
    )
    spec["template"] = _template(wanted, task, execution, settings, grace, resources, secret)
    return wanted


def _template(
    wanted: Wanted,
    task: Task,
    execution: Execution | None,
    settings: JobSettings,
    grace: int,
    resources: dict[str, Any],
    secret: str | None,
) -> Object:
    given = execution or Execution()
    own = _own_labels(wanted)
    environment = {TASK: encode_task(task), "TMPDIR": SCRATCH, "HOME": SCRATCH, **settings.environment}
    mounts: list[Object] = [{"name": "scratch", "mountPath": SCRATCH}]
    volumes: list[Object] = [{"name": "scratch", "emptyDir": {}}]
    if secret is not None:
        mounts.append({"name": "target", "mountPath": SECRETS, "readOnly": True})
        # a pod without it starts, and says what is missing
        volumes.append({"name": "target", "secret": {"secretName": secret, "optional": True}})
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": given.serviceAccountName or "default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                **({} if settings.pull_policy is None else {"imagePullPolicy": settings.pull_policy}),
                "args": ["worker"],
                "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
                "resources": resources,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if wanted.shards > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {RUN: own[RUN]}},
            }
        ]
    if given.priorityClassName is not None:
        pod["priorityClassName"] = given.priorityClassName
    return {"metadata": {"labels": {**(given.podLabels or {}), **_COMMON, **own}}, "spec": pod}


def _replay_rules() -> list[Object]:
    """In order: the first that matches counts. What a pod says itself goes before what happened to it."""
    return [
        _on_exit(_USAGE_ERRORS, "FailJob"),
        _on_exit([ExitCode.FAILED], "FailIndex"),
        _on_exit([ExitCode.HALTED], "Ignore"),
        _ON_DISRUPTION,
    ]


def _aggregate_rules() -> list[Object]:
    """A computation that needs more memory than it has does so the next time too."""
    codes = sorted([*_USAGE_ERRORS, ExitCode.FAILED, ExitCode.OUT_OF_MEMORY])
    return [
        _on_exit(codes, "FailJob"),
        _on_exit([ExitCode.HALTED], "Ignore"),
        _ON_DISRUPTION,
        _on_exit([_KILLED], "FailJob"),
    ]


def _on_exit(codes: Sequence[int], action: str) -> Object:
    values = [int(code) for code in codes]
    return {
        "action": action,
        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": values},
    }


_ON_DISRUPTION: Object = {
    "action": "Ignore",  # a node that was lost or drained, a pod that gave way to another
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


def _own_labels(wanted: Wanted) -> dict[str, str]:
    return {RUN: wanted.run[:16], NAME: _label(wanted.key.name), KIND: wanted.key.kind}


def _label(name: str) -> str:
    return name[:_LABEL].rstrip("-.")


def _job_name(wanted: Wanted, attempt: int) -> str:
    """Such that the name of each pod's host, `<name>-<index>`, is a DNS label."""
    end = f"-{wanted.run[:8]}-{attempt}"
    room = _LABEL - len(end) - len(f"-{wanted.shards - 1}")
    return wanted.key.name.replace(".", "-")[:room].rstrip("-") + end


def _stream(opened: OpenStream, settings: JobSettings) -> StreamTask:
    namespace, arn = opened.stream.namespace, opened.spec.roleARN
    grant = None if arn is None else settings.roles.find(arn, namespace)
    if grant is None:
        return stream_task(opened)
    return stream_task(opened, RoleTask(grant.role_arn, grant.external_id, session_name(namespace)))
