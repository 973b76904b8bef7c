"""The chart gives the operator what it needs and nothing else: every right is used, by the API server's own
log, and without it something is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.audit import Request
from running.errand import Broken, Errand
from running.rights import Right, manifests, rights_of
from running.scene import Ground, scene

_JOBS = ("--executor", "Jobs", "--image", "pik:none")
_AT_ONCE = 6


def used(requests: Iterator[Request], namespace: str) -> set[Right]:
    """The rights that the operator's requests in that namespace were allowed by."""
    user = f"system:serviceaccount:{namespace}:pik-operator"
    return {
        Right(each.group, "/".join(filter(None, (each.resource, each.subresource))), each.verb)
        for each in requests
        if each.user == user and each.namespace == namespace and each.allowed
    }


async def test_every_right_is_used_and_without_it_something_is_missing(
    ground: Ground, unique: str, tmp_path: Path
) -> None:
    since = ground.cluster.audited()
    whole = unique[:26]
    async with scene(ground, whole, tmp_path, *_JOBS) as made:
        await made.operator().start()
        await Errand(made, 60).run()
    given = set(rights_of(manifests(ground.render, whole, watchNamespaces=[whole])))
    assert {str(right) for right in given - used(ground.cluster.requests(since), whole)} == set()

    room = asyncio.Semaphore(_AT_ONCE)

    async def missing(number: int, right: Right) -> str:
        scratch = tmp_path / str(number)
        scratch.mkdir()
        async with room, scene(ground, f"{whole}-{number}", scratch, *_JOBS, lacking=right) as made:
            await made.operator().start()
            with pytest.raises(Broken) as broken:
                await Errand(made, 20).run()
            return f"{right}: {broken.value}"

    await asyncio.gather(*(missing(number, right) for number, right in enumerate(sorted(given))))
