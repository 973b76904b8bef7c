"""Aggregates computed inside this process: begun once, looked at by later passes (what is found is kept, so
that it is safe to lose)."""

from __future__ import annotations

from pik.api.aggregate_version import Difference
from pik.api.conditions import Reason
from pik.controller.background import Background
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Stalled, Waiting
from pik.controller.runs import Question
from pik.domain.errors import Incomplete, NoSuchObject
from pik.domain.instants import parse_instant
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.differences import Change, difference
from pik.execution.aggregate.records import Answer, read_answer
from pik.execution.aggregate.repeats import repeated
from pik.execution.stream import Stream

_COMPUTE = "compute"  # the names of these works in the background
_COMPARE = "compare"


class InProcessComputations:
    """`Computations` beside the reconcilers. `memory`: DuckDB's limit for one of them, such as `512MB`."""

    def __init__(self, background: Background, *, memory: str | None = None) -> None:
        self._background = background
        self._memory = memory

    async def answer(self, question: Question) -> Answer | Waiting | Stalled:
        spec, meta = question.resource.spec, question.resource.metadata

        async def work() -> Answer:
            return await compute(
                question.opened.stream,
                question.definition,
                namespace=meta.namespace,
                name=meta.name,
                known_by=spec.knownBy,
                as_of=None if spec.asOf is None else parse_instant(spec.asOf),
                memory=self._memory,
            )

        computed = self._background.poll(question.key, _COMPUTE, question.definition.hash, work)
        return Waiting(Reason.COMPUTING) if computed is None else computed.value

    async def difference(self, question: Question, own: str, before: str) -> Difference | Waiting | Stalled:
        stream = question.opened.stream

        async def work() -> Difference | None:
            try:
                one = await read_answer(stream, before)
            except NoSuchObject:
                return None
            return await compared(stream, one, await read_answer(stream, own), self._memory)

        found = self._background.poll(question.key, _COMPARE, f"{before} {own}", work)
        if found is None:
            return comparing(before)
        if found.value is None:
            raise NoSuchObject(f"there is no version {before[:12]}… in this stream")
        return found.value

    async def halt(self, key: ObjectKey) -> None:
        await self._background.stop(key)

    async def forget(self, key: ObjectKey) -> None:
        await self._background.stop(key)


def comparing(before: str) -> Waiting:
    """What is said while a difference is being computed."""
    return Waiting(Reason.COMPUTING, f"the difference from {before[:12]} is computed")


async def compared(stream: Stream, before: Answer, after: Answer, memory: str | None) -> Difference:
    """The difference of two versions in numbers. Raises `Incomparable`, `Incomplete` where something of what
    is kept of them is gone, and what `repeated` does."""
    try:
        found = await difference(stream, before, after, memory)
        duplicates = await repeated(stream, before, after, memory)
    except NoSuchObject as error:
        raise Incomplete(f"something that was kept of a version is gone: {error}") from error
    return Difference(
        against=before.version,
        rowsChanged=len(found.rows),
        late=found.counts[Change.LATE],
        duplicates=duplicates,
        conflicts=found.counts[Change.CHANGED],
        missing=found.counts[Change.MISSING],
        new=found.counts[Change.NEW],
    )
