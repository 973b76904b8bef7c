"""Where a test gets hold of a call: what lies between who calls and the service.

A call has a name (`objects.create`, `index.reserve`) and an effect, which happens at once when it is run and
gives the answer or raises it. The `Wire` decides when it is run, how often, and what the caller hears of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

Hook = Callable[[str], Awaitable[None]]


class Wire(Protocol):
    """The way to a service and back."""

    async def call(self, name: str, effect: Callable[[], T]) -> T:
        """Runs the effect; its answer."""
        ...

    async def batch(self, name: str, effects: Sequence[Callable[[], T]]) -> list[T]:
        """Several effects of one request. Others may come in between two of them; they have one answer."""
        ...


async def unhooked(call: str) -> None:
    """Nothing happens."""


class Hooked:
    """A `Wire` with a hook before the effect and one after it, while its answer is on the way. A `before`
    that raises is a crash or a refusal without effect; an `after` that raises is a lost answer. A hook that
    awaits lets others run."""

    def __init__(self, before: Hook = unhooked, after: Hook = unhooked) -> None:
        self._before = before
        self._after = after

    async def call(self, name: str, effect: Callable[[], T]) -> T:
        await self._before(name)
        answer = effect()
        await self._after(name)
        return answer

    async def batch(self, name: str, effects: Sequence[Callable[[], T]]) -> list[T]:
        answers = []
        for effect in effects:
            await self._before(name)
            answers.append(effect())
        await self._after(name)
        return answers
