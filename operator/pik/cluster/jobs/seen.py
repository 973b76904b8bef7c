"""Jobs and pods as the API server has them, in the few words that decisions need: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from signal import Signals

import msgspec

from pik.cluster.api import Object
from pik.cluster.jobs.manifests import ATTEMPT, CONTAINER, DIGEST, OBJECT, OUT_OF_MEMORY, QUEUE_NAME, RUN
from pik.cluster.jobs.verdicts import ExitCode, Verdict, decode_verdict
from pik.domain.instants import Instant, parse_instant

_INDEX = "batch.kubernetes.io/job-completion-index"  # an annotation of a pod
_SIGNALS = 128  # exit codes beyond it: the number of a signal
_CANNOT_START = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    }
)


class JobState(StrEnum):
    ACTIVE = "active"  # its controller is at it, or would be if it were not suspended
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """`run`: the label. `owner`: uid of its controller. `queued`: whether a queue system manages it.
    `failed_indexes`: of an Indexed Job, those that are not tried again. `reason`, `message` and `ended`: of
    one that has ended. `out_of_memory`: whether it was noted that a pod of it was. Counts are of pods."""

    name: str
    uid: str
    object: str
    run: str
    owner: str | None
    digest: str
    attempt: int
    image: str
    memory: str  # limit of a pod
    queued: bool
    suspended: bool
    parallelism: int
    deleting: bool
    state: JobState
    reason: str
    message: str
    ended: Instant | None
    failed_indexes: tuple[int, ...]
    active: int
    ready: int
    failed: int
    ttl: int | None
    created: Instant
    out_of_memory: bool


def job_of(given: Object) -> Job:
    meta, spec, status = given["metadata"], given["spec"], given.get("status", {})
    labels, annotations = meta.get("labels", {}), meta.get("annotations", {})
    state, reason, message, ended = JobState.ACTIVE, "", "", None
    for condition in status.get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in _ENDS:
            state = _ENDS[condition["type"]]
            reason, message = condition.get("reason", ""), condition.get("message", "")
            ended = parse_instant(condition["lastTransitionTime"])
    owners = [one["uid"] for one in meta.get("ownerReferences", ()) if one.get("controller")]
    attempt = annotations.get(ATTEMPT, "0")
    container = spec["template"]["spec"]["containers"][0]
    return Job(
        name=meta["name"],
        uid=meta["uid"],
        object=annotations.get(OBJECT, ""),
        run=labels.get(RUN, ""),
        owner=owners[0] if owners else None,
        digest=annotations.get(DIGEST, ""),
        attempt=int(attempt) if attempt.isdigit() else 0,
        image=container["image"],
        memory=str(container.get("resources", {}).get("limits", {}).get("memory", "")),
        queued=QUEUE_NAME in labels,
        suspended=spec.get("suspend", False),
        parallelism=spec.get("parallelism", 1),
        deleting="deletionTimestamp" in meta,
        state=state,
        reason=reason,
        message=message,
        ended=ended,
        failed_indexes=tuple(_indexes(status.get("failedIndexes", ""))),
        active=status.get("active", 0),
        ready=status.get("ready", 0),
        failed=status.get("failed", 0),
        ttl=spec.get("ttlSecondsAfterFinished"),
        created=parse_instant(meta["creationTimestamp"]),
        out_of_memory=OUT_OF_MEMORY in annotations,
    )


_ENDS = {"Complete": JobState.SUCCEEDED, "Failed": JobState.FAILED}


def _indexes(text: str) -> Iterator[int]:
    """`1,3-5`: 1, 3, 4, 5."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@dataclass(frozen=True, slots=True)
class Pod:
    """`index`: of an Indexed Job. `exit_code`, `reason` and `verdict`: of its container, once that has ended.
    `stuck`: why it cannot start, where something keeps it from that. `unscheduled`: why it has no node."""

    name: str
    uid: str
    job: str  # uid
    index: int | None
    created: Instant
    failed: bool
    exit_code: int | None
    reason: str
    verdict: Verdict | None
    said: str  # the termination message as it is
    stuck: str | None
    unscheduled: str | None

    @property
    def out_of_memory(self) -> bool:
        return self.reason == "OOMKilled"

    def why(self) -> str:
        """Why it failed, for a person."""
        if self.verdict is not None:
            return self.verdict.message
        if self.out_of_memory:
            return "it was killed since it needed more memory than its limit"
        ended, last = _ended(self.exit_code), []
        if self.exit_code is None or self.exit_code <= _SIGNALS:  # else its last words are of something else
            last = [_words(line) for line in self.said.strip().splitlines()[-1:]]
        return ": ".join([f"{ended} ({self.reason})" if self.reason not in ("", "Error") else ended, *last])


def _ended(code: int | None) -> str:
    if code is None:
        return "it was lost"
    try:
        return f"it was killed by {Signals(code - _SIGNALS).name}"
    except ValueError:
        return f"exit code {code}"


def _words(line: str) -> str:
    """What a line of a log says: the message, where it is one of ours."""
    try:
        told = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line
    return str(told.get("message", line)) if isinstance(told, dict) else line


def pod_of(given: Object) -> Pod:
    meta, status = given["metadata"], given.get("status", {})
    index = meta.get("annotations", {}).get(_INDEX)
    owners = [one["uid"] for one in meta.get("ownerReferences", ()) if one.get("controller")]
    containers = [one for one in status.get("containerStatuses", ()) if one["name"] == CONTAINER]
    state = containers[0].get("state", {}) if containers else {}
    ended = state.get("terminated", {})
    said = ended.get("message", "")
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        job=owners[0] if owners else "",
        index=int(index) if index is not None else None,
        created=parse_instant(meta["creationTimestamp"]),
        # one that was told to stop and did has not failed
        failed=status.get("phase") == "Failed" and ended.get("exitCode") != ExitCode.HALTED,
        exit_code=ended.get("exitCode"),
        reason=ended.get("reason", "") or status.get("reason", ""),
        verdict=decode_verdict(said),
        said=said,
        stuck=_stuck(state.get("waiting", {})),
        unscheduled=_unscheduled(status),
    )


def _stuck(waiting: Object) -> str | None:
    if waiting.get("reason") not in _CANNOT_START:
        return None
    return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")


def _unscheduled(status: Object) -> str | None:
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "it is not scheduled")
    return None


def newest(pods: Iterable[Pod]) -> list[Pod]:
    """Of each index the pod that was made last, in order of index."""
    found: dict[int, Pod] = {}
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.name)):
        found[pod.index or 0] = pod
    return [found[index] for index in sorted(found)]
