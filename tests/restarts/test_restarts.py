"""A bounded campaign in every run of the tests; `make restarts` kills 50 times."""

from __future__ import annotations

from pathlib import Path

from restarts.campaign import campaign


async def test_an_operator_that_is_killed_again_and_again_leaves_the_world_as_the_specs_say(
    control_plane: object, emulator: str, unique: str, tmp_path: Path
) -> None:
    kubeconfig: Path = control_plane.kubeconfig  # type: ignore[attr-defined]
    async with campaign(kubeconfig, emulator, unique, tmp_path, seed=7) as made:
        outcome = await made.run(kills=8, objects=15)
    assert outcome.faults == []
    assert (outcome.kills, outcome.objects) == (8, 15)
    assert outcome.messages >= 6 * 240
