"""How a pod's work ended, as its exit code and termination message say: the one is for the Job's
podFailurePolicy, the other for whoever writes a status."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from pik.api.conditions import Reason

_MESSAGE = 900  # characters; Kubernetes keeps 4096 bytes of a termination message


class ExitCode(IntEnum):
    """What is not among these may succeed the next time: 1, a signal, a crash."""

    DONE = 0  # the shard's success is on record, or what was asked is kept
    AGAIN = 1
    USAGE = 2  # of the command line itself
    FAILED = 10  # for good: the shard's failure is on record, or the computation cannot succeed
    MISCONFIGURED = 11  # no pod of this task can succeed
    HALTED = 12  # it was told to stop, and can be gone on with
    OUT_OF_MEMORY = 13


class Verdict(msgspec.Struct, frozen=True):
    """`reason`: one of `pik.api.conditions.Reason`."""

    code: ExitCode
    reason: Reason
    message: str

    def encode(self) -> bytes:
        """The termination message: JSON."""
        return msgspec.json.encode(msgspec.structs.replace(self, message=self.message[:_MESSAGE]))


def decode_verdict(text: str) -> Verdict | None:
    """None for a termination message that is none: empty, or the end of a log."""
    try:
        return msgspec.json.decode(text, type=Verdict)
    except (msgspec.DecodeError, ValueError):
        return None
