"""One error type a meaning; adapters translate into these, chained, and nobody above them sees another."""

from __future__ import annotations


class PikError(Exception):
    """Base of every error that pik raises on purpose; its text is meant for a person."""


class Unavailable(PikError):
    """A service gave no answer, or not now; whether the call took effect is unknown."""


class Throttled(Unavailable):
    """A service asked to be called less often."""


class Denied(PikError):
    """The credentials in use may not do this."""


class Refused(PikError):
    """A service refused a call as it was made; the same call will be refused again."""


class AlreadyExists(PikError):
    """A conditional creation found something already there."""


class NoSuchObject(PikError):
    """There is no object under this key."""


class Changed(PikError):
    """A conditional replacement found another content than the one it was based on."""


class NoSuchBucket(PikError):
    """The bucket is not there."""


class NoSuchTable(PikError):
    """The index table is not there."""


class BucketTaken(PikError):
    """The bucket's name is in use, and not by this stream."""


class OwnershipConflict(PikError):
    """Bucket prefix or table belong to another stream, which the text names."""


class DataLost(PikError):
    """What held raw data is gone; it is never made anew, which would pass for an empty stream."""


class Unusable(PikError):
    """A bucket or table is there, but not as it has to be; the text says what a person must change."""


class FunctionUnhealthy(PikError):
    """A new version of a function does not work; the text has its own words."""


class PackageMissing(PikError):
    """A function's code is wanted, and this installation does not have it."""


class SourceNotAllowed(PikError):
    """The administrator's map does not have this source for this namespace."""


class Fenced(PikError):
    """The index has moved to another generation, or is being rebuilt; read the generation again."""


class NotReady(PikError):
    """The stream cannot take or answer now (index being rebuilt, table gone); try again later."""


class Overloaded(PikError):
    """A bound on waiting work was reached; try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Incomplete(PikError):
    """A reading could not see everything that counts, so its answer would not be whole."""


class Tampered(PikError):
    """Raw data is not what was recorded of it."""


class LeaseLost(PikError):
    """Another holder has the lease now."""


class InvalidExpression(PikError):
    """A SQL expression of a user is not one that pik allows; the text says which part and why."""


class NotSupported(InvalidExpression):
    """A SQL expression that pik allows, and that the chosen engine cannot compute exactly as the others
    do."""


class InvalidDefinition(PikError):
    """What an aggregate asks for cannot be computed, whatever the events are."""


class UnreadableValue(PikError):
    """Events have a value that is not what an expression reads it as, or that it cannot compute exactly."""


class QueryFailed(PikError):
    """A query service could not answer a query, and would not the next time; the text says why."""


class OutOfMemory(PikError):
    """A computation needs more memory than it is given."""


class Incomparable(PikError):
    """Two versions answer different questions, so their difference says nothing."""


class NotReproducible(PikError):
    """The same version was computed again and its rows are not the ones that are kept."""


class RunKeyConflict(PikError):
    """A run with this key was recorded with another spec."""


class RawExpired(PikError):
    """Raw data that is still needed is past its retention."""


class TargetUnavailable(PikError):
    """The target of a replay did not take events, however often it was tried."""


class TargetForbidden(PikError):
    """The target of a replay has an address that nothing is ever sent to."""


class SecretUnusable(PikError):
    """A Secret that a target wants is not there, or not as it has to be; the text has no part of it."""


class RoleNotAllowed(PikError):
    """The administrator's map of roles does not have this role for this namespace."""


class SelectorNotReadable(PikError):
    """Namespaces are to be selected by their labels, which cannot be read here."""


class KubernetesUnavailable(PikError):
    """The API server does not answer, or not now: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that it asked for


class KubernetesRefused(PikError):
    """The API server refuses a request as it was made: a right is missing, or the object is not one that it
    takes. The same request will be refused again."""


class WorkerFailed(PikError):
    """The pods that do the work cannot be made, cannot start, or cannot work as they are set up; the text
    says why."""


class Queued(PikError):
    """Work is ready to begin, and somebody who shares out the cluster's capacity holds it."""


class MalformedBatch(PikError):
    """A body that cannot be told apart into events; nothing of it was read (HTTP 400)."""


class BatchTooLarge(PikError):
    """A body of more bytes or events than are taken at once; nothing of it was read (HTTP 413)."""


class UnsupportedMediaType(PikError):
    """A body of a content type that events do not come in (HTTP 415)."""


class UnreadableFile(PikError):
    """A file that is not what its format says, or that cannot become events of this stream."""
