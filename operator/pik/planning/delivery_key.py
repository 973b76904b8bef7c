"""What tells a message of a run from every other."""

from __future__ import annotations

from hashlib import sha256


def delivery_key(event_id: str, run_id: str, copy: str = "") -> str:
    """What a target can tell repeats of a message by: the same whenever this run sends this event, another in
    every other run. `copy`: where a repeat of the event lies, for runs that send those too. At most 98
    characters of a–z, 0–9 and dots (an SQS MessageDeduplicationId takes 128)."""
    return f"{event_id}.{run_id[:16]}{copy_mark(copy)}"


def copy_mark(copy: str) -> str:
    """The end of a repeat's key, which tells it from its event's."""
    return f".{sha256(copy.encode()).hexdigest()[:16]}" if copy else ""
