"""The moments at which a process of the campaign is killed: named steps of its work, and any other.

A step is said in calls of ports, so that the work itself knows nothing of it: before, in or after the n-th
call of a method that is about something.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

ANY_MOMENT = "any moment"


class When(StrEnum):
    BEFORE = "before"
    WITHIN = "in"  # the call has been begun; nobody waits for its answer
    AFTER = "after"  # it was answered


class Step(msgspec.Struct, frozen=True):
    """`call`: `port.method`, or `aws.service.operation` for one request; `about`: is found in the key, lease
    or kind that the call is about; `during`: a call that has to be under way. The first two are regular
    expressions. `nth`: of the calls that fit; a campaign draws it from 1 to `often`. `stop`: SIGSTOP instead
    of SIGKILL."""

    name: str
    call: str
    when: When
    about: str = ""
    during: str = ""
    nth: int = 1
    often: int = 1
    stop: bool = False


class Fate(msgspec.Struct, frozen=True):
    """How a process ends: at a step; or, without one, so many seconds after its first work, by the hand of
    another. So does one that has not come to its step by then."""

    step: Step | None = None
    seconds: float = 12.0

    @property
    def name(self) -> str:
        return ANY_MOMENT if self.step is None else self.step.name


Steps = list[Step | tuple[Step, ...]]
"""In the order in which they are come to; of a tuple one alone."""


def _around(what: str, call: str, about: str = "", often: int = 1) -> list[Step]:
    return [Step(f"{when} {what}", call, when, about, often=often) for when in When]


def _once(what: str, about: str) -> Steps:
    """An object that is not written again once it is there: one of the two ends is come to."""
    before, within, after = _around(what, "objects.create", about)
    return [before, (within, after)]


_SEGMENT, _VOID = r"/raw/.*#segment", r"/raw/.*#void"

_LANDING: Steps = [
    *_around("the segment's PUT", "objects.create", _SEGMENT, often=4),
    *_around("the manifest row", "index.put_segment", often=4),
    Step("before the answer", "http.head", When.BEFORE, often=6),
    Step("in the answer", "http.body", When.BEFORE, often=6),
    Step("after the answer", "http.body", When.AFTER, often=6),
]
_RESERVED = Step("after the reservations", "index.reserve", When.AFTER, often=3)
_DECIDING: Steps = [
    Step("before the reservations", "index.reserve", When.BEFORE, often=3),
    Step("between index batches", r"aws\.dynamodb\..*", When.AFTER, during="index.reserve", often=4),
    _RESERVED,
    Step("before the second look at the generation", "index.generation", When.BEFORE, nth=2),
    Step("before a void", "objects.create", When.BEFORE, _VOID),
    Step("after a void", "objects.create", When.AFTER, _VOID),
    Step("before a dead writer's entry is taken over", "index.take_over", When.BEFORE),
    Step("after a dead writer's entry is taken over", "index.take_over", When.AFTER),
]
LEFT_BEHIND = _RESERVED
"""What has to have happened to another writer before one comes to a step of `BLOCKED`."""

BLOCKED = {"before a void", "after a void"} | {
    f"{when} a dead writer's entry is taken over" for when in ("before", "after")
}

BUILD: Steps = [
    *_once("the owner record", r"owner\.json$"),
    Step("after the fence", "index.fence", When.AFTER),
    *_around("the generation record", "objects.create", r"/generations/"),
    Step("before the index is ready", "index.set_ready", When.BEFORE),
    Step("after the index is ready", "index.set_ready", When.AFTER),
]
REBUILD = [
    Step("after the fence, beside writers", "index.fence", When.AFTER),
    Step("after the generation record, beside writers", "objects.create", When.AFTER, r"/generations/"),
    Step("before a rebuilt manifest row", "index.rebuild_segment", When.BEFORE, nth=2),
    Step("in a rebuilt manifest row", "index.rebuild_segment", When.WITHIN, nth=2),
    Step("before the index is ready, beside writers", "index.set_ready", When.BEFORE),
]
REBUILD_ENTRIES = [
    Step("before a segment's rebuilt entries", "index.put_winners", When.BEFORE),
    Step("in a segment's rebuilt entries", "index.put_winners", When.WITHIN),
]
ORPHANS = [
    Step("before an orphan's manifest row", "index.put_segment", When.BEFORE),
    Step("after an orphan's manifest row", "index.put_segment", When.AFTER),
]
SEAL = [
    Step("before a seal", "objects.create", When.BEFORE, r"/seals/"),
    Step("after a seal", "objects.create", When.AFTER, r"/seals/"),
]
PLAN: Steps = [
    Step("before the plan", "objects.create", When.BEFORE, r"/plans/"),
    Step("after the plan, before the run record", "objects.create", When.AFTER, r"/plans/"),
    (
        Step("in the run record", "objects.create", When.WITHIN, r"/run\.json$"),
        Step("after the run record, before the first send", "objects.create", When.AFTER, r"/run\.json$"),
    ),
]
SHARD = [
    Step("after the lease", "index.acquire", When.AFTER),
    *_around("an intent", "objects.create", r"\.intent(\.\d+)?\.json$", often=4),
    Step("after an intent, before its first send", "sink.send", When.BEFORE),
    Step("in a send", "sink.send", When.WITHIN, often=30),
    Step("after a send", "sink.send", When.AFTER, often=30),
    *_around("an outcome", "objects.create", r"\.outcome\.ndjson$", often=4),
]
SHARD_END = _once("the shard's end", r"/shards/\d+/end\.json$")
CONCLUDE = _once("the run's end", r"/runs/[0-9a-f]+/end\.json$")
AGGREGATE: Steps = [
    Step("after the question was noted", "objects.create", When.AFTER, r"/asked/"),
    Step("after the snapshot was pinned", "objects.create", When.AFTER, r"/snapshots/"),
    Step("before an aggregate's rows", "objects.create", When.BEFORE, r"/rows\.parquet$"),
    Step("after an aggregate's rows, before its inputs", "objects.create", When.AFTER, r"/rows\.parquet$"),
    Step("in an aggregate's inputs", "objects.create", When.WITHIN, r"/inputs/"),
    Step("after the inputs, before the version record", "objects.create", When.AFTER, r"/inputs/"),
    (
        Step("in the version record", "objects.create", When.WITHIN, r"/version\.json$"),
        Step("after the version record", "objects.create", When.AFTER, r"/version\.json$"),
    ),
    Step("after the instant it answers for", "objects.create", When.AFTER, r"/as-of/"),
]
ANSWER = [Step("after the answer to the manifest", "objects.create", When.AFTER, r"/answers/")]
ON_WRITE: Steps = [*_DECIDING, *_LANDING]
ON_READ: Steps = _LANDING
NAMED = {
    step.name: step
    for found in (
        *(BUILD, REBUILD, REBUILD_ENTRIES, ORPHANS, SEAL, ON_WRITE),
        *(PLAN, SHARD, SHARD_END, CONCLUDE, AGGREGATE, ANSWER),
    )
    for each in found
    for step in (each if isinstance(each, tuple) else (each,))
}
"""Every step by its name."""
