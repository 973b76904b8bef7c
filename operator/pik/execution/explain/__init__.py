"""One event: every arrival of it, which of them it is, and what it went into: `pik explain`."""

from pik.execution.explain.arrivals import Candidate, Candidates
from pik.execution.explain.event import ExplainedArrival, Explanation, Part, explain
from pik.execution.explain.find import FoundEvent, FoundEvents, find_events

__all__ = [
    "Candidate",
    "Candidates",
    "ExplainedArrival",
    "Explanation",
    "FoundEvent",
    "FoundEvents",
    "Part",
    "explain",
    "find_events",
]
