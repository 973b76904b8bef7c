"""From errors to outcomes: the one table of what each error means for an object."""

from __future__ import annotations

from pik.api.conditions import REASONS, ConditionType, Reason
from pik.controller.outcome import Outcome, Retry, Stalled, Waiting
from pik.domain import errors

STALLED_AGAIN = 60.0
"""Seconds after which a stalled object is looked at: what stalls it may have gone."""

COMPUTED_AGAIN = 900.0
"""The same, where looking means to compute once more."""

_RETRIED: tuple[tuple[type[errors.PikError], Reason], ...] = (
    (errors.TargetUnavailable, Reason.TARGET_UNAVAILABLE),
    (errors.Unavailable, Reason.AWS_UNAVAILABLE),
    (errors.KubernetesUnavailable, Reason.KUBERNETES_UNAVAILABLE),
    (errors.Incomplete, Reason.INCOMPLETE_READ),
    (errors.NotReady, Reason.STREAM_NOT_READY),
    (errors.NoSuchTable, Reason.STREAM_NOT_READY),
    (errors.Overloaded, Reason.STREAM_NOT_READY),
)
_STALLED: tuple[tuple[type[errors.PikError], Reason], ...] = (
    (errors.RoleNotAllowed, Reason.ROLE_NOT_ALLOWED),
    (errors.FunctionUnhealthy, Reason.FUNCTION_UNHEALTHY),
    (errors.PackageMissing, Reason.PACKAGE_MISSING),
    (errors.SourceNotAllowed, Reason.SOURCE_NOT_ALLOWED),
    (errors.UnreadableFile, Reason.SOURCE_UNREADABLE),
    (errors.SelectorNotReadable, Reason.SELECTOR_NOT_READABLE),
    (errors.SecretUnusable, Reason.SECRET_NOT_READABLE),
    (errors.KubernetesRefused, Reason.KUBERNETES_REFUSED),
    (errors.WorkerFailed, Reason.WORKER_FAILED),
    (errors.Denied, Reason.AWS_REFUSED),
    (errors.Refused, Reason.AWS_REFUSED),
    (errors.DataLost, Reason.DATA_LOST),
    (errors.OwnershipConflict, Reason.OWNERSHIP_CONFLICT),
    (errors.BucketTaken, Reason.BUCKET_TAKEN),
    (errors.NoSuchBucket, Reason.BUCKET_NOT_FOUND),
    (errors.Unusable, Reason.INVALID_SPEC),
    (errors.NotSupported, Reason.EXPRESSION_NOT_SUPPORTED),
    (errors.InvalidExpression, Reason.INVALID_SPEC),
    (errors.InvalidDefinition, Reason.INVALID_SPEC),
    (errors.Incomparable, Reason.INVALID_SPEC),
    (errors.UnreadableValue, Reason.QUERY_FAILED),
    (errors.NotReproducible, Reason.QUERY_FAILED),
    (errors.QueryFailed, Reason.QUERY_FAILED),
    (errors.OutOfMemory, Reason.OUT_OF_MEMORY),
    (errors.RunKeyConflict, Reason.RUN_KEY_CONFLICT),
    (errors.TargetForbidden, Reason.TARGET_FORBIDDEN),
    (errors.RawExpired, Reason.RAW_EXPIRED),
    (errors.Tampered, Reason.RAW_CHANGED),
)
_COMPUTED = (Reason.QUERY_FAILED, Reason.RAW_CHANGED, Reason.OUT_OF_MEMORY)


def outcome_of(error: errors.PikError, kind: str) -> Outcome:
    """What an error means for an object of this kind. An error that the kind documents no reason for is
    InternalError: it is tried again, and not taken for something that it is not."""
    if isinstance(error, errors.Queued) and Reason.QUEUED in REASONS[kind][ConditionType.RECONCILING]:
        return Waiting(Reason.QUEUED, str(error))
    for types, verdict in ((_STALLED, ConditionType.STALLED), (_RETRIED, ConditionType.RECONCILING)):
        for meaning, reason in types:
            if isinstance(error, meaning) and reason in REASONS[kind][verdict]:
                if verdict is ConditionType.STALLED:
                    again = COMPUTED_AGAIN if reason in _COMPUTED else STALLED_AGAIN
                    return Stalled(reason, str(error), again=again)
                return Retry(reason, str(error), after=getattr(error, "retry_after", None))
    return Retry(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
