"""Conditions and reasons: every word that a status can carry, with a sentence each (the documentation is
generated from these), and how a condition is set.

Polarity follows the Kubernetes API conventions and kstatus: `Reconciling` and `Stalled` are present only
while they are true, and so are `Suspended` and `Failed`. While a person is waited for, a ReplayJob has
neither Ready nor Reconciling nor Stalled, so that nobody who waits for it times out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from pik.api.common import StatusCondition
from pik.domain.instants import Instant

MAX_MESSAGE = 32768


class Documented(StrEnum):
    """A word and the sentence that explains it (`meaning`)."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


class ConditionType(Documented):
    """In the order in which they stand in a status."""

    READY = "Ready", "The object is as its spec wants it."
    RECONCILING = "Reconciling", "Work on it is under way and will end by itself. Present only while true."
    STALLED = "Stalled", "It cannot become ready without a change from outside. Present only while true."
    STORAGE_READY = "StorageReady", "The bucket is there, is owned by this stream and is set up."
    INDEX_READY = "IndexReady", "The table is there and complete."
    GATEWAY_READY = "GatewayReady", "The HTTP gateway takes events for this stream."
    FUNCTIONS_READY = "FunctionsReady", "The stream's AWS Lambda functions are as the spec wants them."
    SOURCES_READY = "SourcesReady", "Events come in by every one of ingest.sources."
    PLANNED = "Planned", "There is a plan of what is sent, in status.plan."
    APPROVED = "Approved", "The plan is approved by a person, where the stream requires it."
    SUSPENDED = "Suspended", "It is held by spec.suspend. Present only while true."
    COMPLETE = "Complete", "All is done. While it is not, the reason says how far it is."
    RECONCILED = (
        "Reconciled",
        "The target was read and has what was sent. Only with spec.verifyTarget, after a run that succeeded.",
    )
    FAILED = "Failed", "It ended without being done. Present only while true."


ONLY_WHEN_TRUE = frozenset(
    {ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED, ConditionType.FAILED}
)


class Reason(Documented):
    """Why a condition has its status."""

    # it is as it should be
    PROVISIONED = "Provisioned", "It exists and is set up as the spec wants it."
    DISABLED = "Disabled", "The spec turns it off."
    WITHIN_POLICY = "WithinPolicy", "The stream's replayPolicy asks for no approval."
    APPROVED = "Approved", "spec.approval names the hash of the current plan."
    SUCCEEDED = "Succeeded", "Everything was done, and a record of it is kept."
    SUCCEEDED_WITH_FAILURES = (
        "SucceededWithFailures",
        "The run went to its end; the events that failed or were held are in the ledger.",
    )

    TARGET_MATCHES = "TargetMatches", "The target has every event that was sent, and no other of the run."
    TARGET_DIFFERS = "TargetDiffers", "Events that were sent are missing in the target, or others are there."

    # it is being worked on
    COMPARING = "Comparing", "The target is being read and compared with what was sent."
    PROVISIONING = "Provisioning", "Bucket, table or gateway are being set up."
    REINDEXING = "Reindexing", "The table is being rebuilt from raw; ingest answers 503 until it is complete."
    PLANNING = "Planning", "The stream is being read for what the slice holds."
    RUNNING = "Running", "Events are being sent."
    COMPUTING = "Computing", "The aggregate is being computed."

    # a person or another object is waited for
    PLANNED = "Planned", "status.plan says what a run sends."
    AWAITING_APPROVAL = "AwaitingApproval", "The stream wants the current plan approved before it is run."
    SUSPENDED = "Suspended", "spec.suspend holds it; it goes on where it was when the field is cleared."
    STREAM_NOT_FOUND = "StreamNotFound", "The CaptureStream that streamRef names does not exist (yet)."
    STREAM_NOT_READY = "StreamNotReady", "The CaptureStream that streamRef names is not ready (yet)."
    COMPARISON_NOT_READY = (
        "ComparisonNotReady",
        "The version that compareTo names does not exist or is not computed (yet).",
    )

    # it is tried again
    AWS_UNAVAILABLE = (
        "AWSUnavailable",
        "AWS does not answer or is throttling; it is tried again with backoff.",
    )
    TARGET_UNAVAILABLE = (
        "TargetUnavailable",
        "The target does not take events at present; it is tried again with backoff.",
    )
    TARGET_BUSY = (
        "TargetBusy",
        "Another run of the stream, with a window that overlaps, sends to the same target. It is waited for.",
    )
    GATEWAY_UNAVAILABLE = (
        "GatewayUnavailable",
        "The HTTP gateway does not answer at present: events cannot come in by it. It is looked at again.",
    )
    KUBERNETES_UNAVAILABLE = (
        "KubernetesUnavailable",
        "The API server does not answer at present; it is tried again with backoff.",
    )
    QUEUED = "Queued", "Its pods wait for a queue system, such as Kueue, to let them begin."
    INCOMPLETE_READ = (
        "IncompleteRead",
        "Not everything that belongs to the window could be read; nothing is answered from a part of it.",
    )
    INTERNAL_ERROR = (
        "InternalError",
        "pik met an error that it did not expect; it is tried again with backoff.",
    )

    # only a change from outside helps
    INVALID_SPEC = "InvalidSpec", "The spec asks for something that is not possible; the message says what."
    EXPRESSION_NOT_SUPPORTED = (
        "ExpressionNotSupported",
        "The engine has no exact form of an expression of the spec, which the message names.",
    )
    ROLE_NOT_ALLOWED = (
        "RoleNotAllowed",
        "The administrator's map of roles does not have a role of the spec for this namespace.",
    )
    FUNCTION_UNHEALTHY = (
        "FunctionUnhealthy",
        "A new version of a function does not work: it gets no events, and the one before it still does.",
    )
    PACKAGE_MISSING = (
        "PackageMissing",
        "The spec wants a function, and this installation was not given the packages of functions.",
    )
    SOURCE_NOT_ALLOWED = (
        "SourceNotAllowed",
        "The administrator's map of roles does not have this source for this namespace.",
    )
    SOURCE_UNREADABLE = (
        "SourceUnreadable",
        "An object or a queue of ingest.sources cannot be read; the message says which and why.",
    )
    AUTHENTICATION_UNAVAILABLE = (
        "AuthenticationUnavailable",
        "ingest.auth asks for callers to be known, which this gateway cannot do; it takes no events.",
    )
    KUBERNETES_REFUSED = (
        "KubernetesRefused",
        "The API server refuses what pik asks for: a right is missing, or the spec makes no valid pods.",
    )
    WORKER_FAILED = (
        "WorkerFailed",
        "The pods that do the work cannot be made, cannot start, or cannot work as they are set up.",
    )
    APPROVAL_POLICY_MISSING = (
        "ApprovalPolicyMissing",
        "The stream wants approval, and the admission policy that decides who may give it is not installed.",
    )
    SECRET_NOT_READABLE = (
        "SecretNotReadable",
        "The target wants a Secret that cannot be read where the events are sent, or lacks its keys.",
    )
    SELECTOR_NOT_READABLE = (
        "SelectorNotReadable",
        "The stream's `access` selects namespaces by labels, which this installation cannot read.",
    )
    AWS_REFUSED = "AWSRefused", "AWS refuses the request: a permission or a quota is missing."
    BUCKET_NOT_FOUND = "BucketNotFound", "The bucket to be adopted does not exist."
    BUCKET_TAKEN = "BucketTaken", "The bucket's name belongs to another account, or to nobody who uses pik."
    OWNERSHIP_CONFLICT = "OwnershipConflict", "The owner record in the bucket names another owner."
    DATA_LOST = "DataLost", "The bucket held raw data and is gone; it is not made anew."
    DRIFT_REPORTED = "DriftReported", "AWS differs from the spec in a way that is reported and not repaired."
    ACCESS_DENIED = "AccessDenied", "The stream's `access` does not allow this namespace to refer to it."
    POLICY_EXCEEDED = "PolicyExceeded", "The run exceeds what the stream's replayPolicy allows."
    TARGET_FORBIDDEN = (
        "TargetForbidden",
        "The target's address is one that pik never sends to: link-local, metadata or otherwise reserved.",
    )
    SELF_REPLAY = "SelfReplay", "The target would feed the stream its own events."
    RUN_KEY_CONFLICT = "RunKeyConflict", "A run with this key was recorded with another spec: change runKey."

    # how a run or a computation ended without being done
    STALE_EVENTS = "StaleEvents", "Entities of the slice have newer events outside it, and onStale is Fail."
    PLAN_CHANGED = "PlanChanged", "What would be sent is no longer what was shown; look at the new plan."
    TARGET_FAILED = "TargetFailed", "The target refused an event for good, and onError.action is Stop."
    RETRIES_EXHAUSTED = "RetriesExhausted", "A shard failed more often than retriesPerShard allows."
    RAW_EXPIRED = "RawExpired", "Raw data of the plan expired before it was sent."
    RAW_CHANGED = "RawChanged", "A segment's hash is not what it was: see `pik verify`."
    OUT_OF_MEMORY = "OutOfMemory", "The computation did not fit into its memory."
    QUERY_FAILED = "QueryFailed", "The query failed over the data of the window; the message says where."

    # it is unknown
    NOT_COMPARABLE = (
        "NotComparable",
        "Targets of this type cannot tell what they got: what they confirmed is in the ledger.",
    )
    COMPARISON_FAILED = (
        "ComparisonFailed",
        "Target or stream could not be read for the comparison; it is tried again.",
    )
    UNKNOWN = "Unknown", "It could not be found out."


_WAITING = (Reason.STREAM_NOT_FOUND, Reason.STREAM_NOT_READY)
_IN_PODS = (Reason.KUBERNETES_UNAVAILABLE, Reason.QUEUED)
_PODS_STALLED = (Reason.KUBERNETES_REFUSED, Reason.WORKER_FAILED)
_RETRYING = (Reason.AWS_UNAVAILABLE, Reason.INCOMPLETE_READ, Reason.INTERNAL_ERROR)
_STREAM_STALLED = (
    *(Reason.INVALID_SPEC, Reason.AWS_REFUSED, Reason.BUCKET_NOT_FOUND, Reason.BUCKET_TAKEN),
    *(Reason.OWNERSHIP_CONFLICT, Reason.DATA_LOST, Reason.DRIFT_REPORTED, Reason.ROLE_NOT_ALLOWED),
)
_FEED_STALLED = (
    *(Reason.FUNCTION_UNHEALTHY, Reason.PACKAGE_MISSING, Reason.SOURCE_NOT_ALLOWED),
    Reason.SOURCE_UNREADABLE,
)
_STREAM_RETRYING = (Reason.AWS_UNAVAILABLE, Reason.INTERNAL_ERROR)
_STREAM_WAITING = (Reason.PROVISIONING, Reason.REINDEXING, Reason.GATEWAY_UNAVAILABLE)
_RUN_STALLED = (
    *(Reason.INVALID_SPEC, Reason.AWS_REFUSED, Reason.ACCESS_DENIED, Reason.POLICY_EXCEEDED),
    *(Reason.TARGET_FORBIDDEN, Reason.SELF_REPLAY, Reason.RUN_KEY_CONFLICT),
    *(Reason.APPROVAL_POLICY_MISSING, Reason.SECRET_NOT_READABLE, Reason.SELECTOR_NOT_READABLE),
    *_PODS_STALLED,
)
_RUN_RETRYING = (*_WAITING, *_RETRYING, *_IN_PODS, Reason.TARGET_UNAVAILABLE, Reason.TARGET_BUSY)
_RUN_FAILED = (
    *(Reason.STALE_EVENTS, Reason.PLAN_CHANGED, Reason.TARGET_FAILED, Reason.RETRIES_EXHAUSTED),
    *(Reason.RAW_EXPIRED, Reason.RAW_CHANGED),
)
_RUN_SUCCEEDED = (Reason.SUCCEEDED, Reason.SUCCEEDED_WITH_FAILURES)
_VERSION_STALLED = (
    *(Reason.INVALID_SPEC, Reason.AWS_REFUSED, Reason.ACCESS_DENIED, Reason.SELECTOR_NOT_READABLE),
    *(Reason.EXPRESSION_NOT_SUPPORTED, *_PODS_STALLED),
)
_VERSION_RETRYING = (*_WAITING, Reason.COMPARISON_NOT_READY, *_RETRYING, *_IN_PODS)
_VERSION_FAILED = (Reason.RAW_CHANGED, Reason.OUT_OF_MEMORY, Reason.QUERY_FAILED)

_T = ConditionType
REASONS: Mapping[str, Mapping[ConditionType, tuple[Reason, ...]]] = MappingProxyType(
    {
        "CaptureStream": {
            _T.READY: (
                *(Reason.PROVISIONED, *_STREAM_WAITING, Reason.SUSPENDED),
                *_STREAM_RETRYING,
                *(*_STREAM_STALLED, *_FEED_STALLED, Reason.AUTHENTICATION_UNAVAILABLE),
            ),
            _T.RECONCILING: (*_STREAM_WAITING, *_STREAM_RETRYING),
            _T.STALLED: (*_STREAM_STALLED, *_FEED_STALLED, Reason.AUTHENTICATION_UNAVAILABLE),
            _T.STORAGE_READY: (Reason.PROVISIONED, *_STREAM_RETRYING, *_STREAM_STALLED),
            _T.INDEX_READY: (
                *(Reason.PROVISIONED, Reason.PROVISIONING, Reason.REINDEXING),
                *_STREAM_RETRYING,
                *(Reason.AWS_REFUSED, Reason.DRIFT_REPORTED, Reason.UNKNOWN),
            ),
            _T.GATEWAY_READY: (
                *(Reason.PROVISIONED, Reason.PROVISIONING, Reason.GATEWAY_UNAVAILABLE),
                *(Reason.AUTHENTICATION_UNAVAILABLE, Reason.DISABLED, Reason.SUSPENDED, Reason.UNKNOWN),
            ),
            _T.FUNCTIONS_READY: (
                *(Reason.PROVISIONED, Reason.SUSPENDED, *_STREAM_RETRYING),
                *(Reason.FUNCTION_UNHEALTHY, Reason.PACKAGE_MISSING, Reason.ROLE_NOT_ALLOWED),
                *(Reason.INVALID_SPEC, Reason.AWS_REFUSED, Reason.OWNERSHIP_CONFLICT),
                Reason.DRIFT_REPORTED,
            ),
            _T.SOURCES_READY: (
                *(Reason.PROVISIONED, Reason.PROVISIONING, Reason.SUSPENDED, *_STREAM_RETRYING),
                *(Reason.SOURCE_NOT_ALLOWED, Reason.SOURCE_UNREADABLE),
                *(Reason.INVALID_SPEC, Reason.AWS_REFUSED, Reason.OWNERSHIP_CONFLICT),
                *(Reason.BUCKET_NOT_FOUND, Reason.DRIFT_REPORTED),
            ),
        },
        "ReplayJob": {
            _T.READY: (
                *_RUN_SUCCEEDED,
                Reason.PLANNING,
                Reason.RUNNING,
                *_RUN_RETRYING,
                *_RUN_STALLED,
                *_RUN_FAILED,
            ),
            _T.RECONCILING: (Reason.PLANNING, Reason.RUNNING, *_RUN_RETRYING),
            _T.STALLED: (*_RUN_STALLED, *_RUN_FAILED),
            _T.PLANNED: (Reason.PLANNED, Reason.PLANNING),
            _T.APPROVED: (
                *(Reason.APPROVED, Reason.WITHIN_POLICY, Reason.AWAITING_APPROVAL),
                Reason.APPROVAL_POLICY_MISSING,
            ),
            _T.SUSPENDED: (Reason.SUSPENDED,),
            _T.COMPLETE: (
                *_RUN_SUCCEEDED,
                *(
                    Reason.PLANNING,
                    Reason.PLANNED,
                    Reason.AWAITING_APPROVAL,
                    Reason.RUNNING,
                    Reason.SUSPENDED,
                ),
                *_RUN_RETRYING,
                *_RUN_STALLED,
                *_RUN_FAILED,
            ),
            _T.RECONCILED: (
                *(Reason.TARGET_MATCHES, Reason.TARGET_DIFFERS, Reason.COMPARING),
                *(Reason.NOT_COMPARABLE, Reason.COMPARISON_FAILED),
            ),
            _T.FAILED: _RUN_FAILED,
        },
        "AggregateVersion": {
            _T.READY: (
                *(Reason.SUCCEEDED, Reason.COMPUTING, Reason.SUSPENDED),
                *_VERSION_RETRYING,
                *_VERSION_STALLED,
                *_VERSION_FAILED,
            ),
            _T.RECONCILING: (Reason.COMPUTING, *_VERSION_RETRYING),
            _T.STALLED: (*_VERSION_STALLED, *_VERSION_FAILED),
            _T.COMPLETE: (
                *(Reason.SUCCEEDED, Reason.COMPUTING, Reason.SUSPENDED),
                *_VERSION_RETRYING,
                *_VERSION_STALLED,
                *_VERSION_FAILED,
            ),
            _T.FAILED: _VERSION_FAILED,
        },
    }
)
"""Kind → condition type → the reasons that it can have."""

_RANK: Mapping[str, int] = MappingProxyType({kind.value: rank for rank, kind in enumerate(ConditionType)})


def with_condition(
    conditions: Iterable[StatusCondition],
    kind: ConditionType,
    status: bool | None,
    reason: Reason,
    message: str,
    *,
    generation: int | None,
    now: Instant,
) -> tuple[StatusCondition, ...]:
    """The conditions with this one set, in the order of ConditionType. `status` None is Unknown.

    lastTransitionTime (whole seconds) is kept while the status stays the same. A type that is present only
    when true is taken away when it is false, and refused as Unknown (ValueError).
    """
    if kind in ONLY_WHEN_TRUE and not status:
        if status is None:
            raise ValueError(f"{kind} is true or absent, never Unknown")
        return without_condition(conditions, kind)
    text = "Unknown" if status is None else str(status)
    before = condition_of(conditions, kind)
    unchanged = before is not None and before.status == text
    changed = StatusCondition(
        type=kind.value,
        status=text,
        observedGeneration=generation,
        lastTransitionTime=before.lastTransitionTime if before and unchanged else f"{now.text[:19]}Z",
        reason=reason.value,
        message=message[:MAX_MESSAGE],
    )
    return _ordered((*without_condition(conditions, kind), changed))


def without_condition(
    conditions: Iterable[StatusCondition], kind: ConditionType
) -> tuple[StatusCondition, ...]:
    """The conditions without this one."""
    return tuple(condition for condition in conditions if condition.type != kind)


def condition_of(conditions: Iterable[StatusCondition], kind: ConditionType) -> StatusCondition | None:
    """The condition of this type, where there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[StatusCondition], kind: ConditionType) -> bool:
    """Whether the condition is there and True."""
    condition = condition_of(conditions, kind)
    return condition is not None and condition.status == "True"


def _ordered(conditions: Iterable[StatusCondition]) -> tuple[StatusCondition, ...]:
    return tuple(sorted(conditions, key=lambda condition: _RANK.get(condition.type, len(_RANK))))
