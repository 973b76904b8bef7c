"""What tells a message of a run from every other. At most 98 characters of a–z, 0–9 and dots (an SQS
MessageDeduplicationId takes 128)."""

from __future__ import annotations

from hashlib import sha256


def delivery_key(event_id: str, run_id: str) -> str:
    """What a target can tell repeats of a message by: the same whenever this run sends this event, another in
    every other run."""
    return event_id + run_mark(run_id)


def run_mark(run_id: str) -> str:
    """The part of a key that tells the run."""
    return f".{run_id[:16]}"


def copy_mark(place: str) -> str:
    """The end of the key of an arrival after the first, for runs that send those too. `place`: where it
    lies."""
    return f".{sha256(place.encode()).hexdigest()[:16]}"
