"""Aggregates computed inside this process: begun once, looked at by later passes (what is found is kept, so
that it is safe to lose)."""

from __future__ import annotations

from pik.api.aggregate_version import Difference
from pik.api.conditions import Reason
from pik.controller.athena import queries_of, work_group_of
from pik.controller.background import Background
from pik.controller.engines import compare, compute
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Stalled, Waiting
from pik.controller.runs import Question
from pik.domain.errors import NoSuchObject
from pik.domain.instants import parse_instant
from pik.execution.aggregate.answers import DifferenceRecord
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.records import Answer, read_answer
from pik.planning.memory import memory_limit

_COMPUTE = "compute"  # the names of these works in the background
_COMPARE = "compare"


class InProcessComputations:
    """`Computations` beside the reconcilers. `memory`: of one of them, such as `512MB`."""

    def __init__(self, background: Background, *, memory: str | None = None) -> None:
        self._background = background
        self._memory = memory
        self._halted: set[ObjectKey] = set()  # whose queries are stopped when their work is cancelled

    async def answer(self, question: Question) -> Answer | Waiting | Stalled:
        spec, meta = question.resource.spec, question.resource.metadata
        self._halted.discard(question.key)

        async def work() -> Answer:
            return await compute(
                question.opened.stream,
                question.definition,
                namespace=meta.namespace,
                name=meta.name,
                known_by=spec.knownBy,
                as_of=None if spec.asOf is None else parse_instant(spec.asOf),
                memory=self._limit(question),
                athena=self._athena(question),
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
            return in_numbers(
                await compare(stream, one, await read_answer(stream, own), self._limit(question))
            )

        found = self._background.poll(question.key, _COMPARE, f"{before} {own}", work)
        if found is None:
            return comparing(before)
        if found.value is None:
            raise NoSuchObject(f"there is no version {before[:12]}… in this stream")
        return found.value

    def _limit(self, question: Question) -> str | None:
        execution = question.resource.spec.execution
        return memory_limit(None if execution is None else execution.memory, self._memory)

    def _athena(self, question: Question) -> Athena | None:
        work_group, opened, key = work_group_of(question.resource), question.opened, question.key
        if work_group is None:
            return None
        region, prefix = opened.spec.storage.region, opened.stream.layout.prefix
        service = queries_of(opened.cloud, region, work_group, opened.place.bucket, prefix)
        return Athena(service, halted=lambda: key in self._halted)

    async def halt(self, key: ObjectKey) -> None:
        self._halted.add(key)
        await self._background.stop(key)

    async def forget(self, key: ObjectKey) -> None:
        await self.halt(key)
        self._halted.discard(key)


def comparing(before: str) -> Waiting:
    """What is said while a difference is being computed."""
    return Waiting(Reason.COMPUTING, f"the difference from {before[:12]} is computed")


def in_numbers(record: DifferenceRecord) -> Difference:
    """As a status has it."""
    return Difference(
        against=record.before,
        rowsChanged=record.rows_changed,
        late=record.late,
        duplicates=record.duplicates,
        conflicts=record.conflicts,
        missing=record.missing,
        new=record.new,
    )
