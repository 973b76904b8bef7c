"""What the words of `pik operator` come to."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from pik.cli import operator as module
from pik.cluster.settings import OperatorSettings
from pik.controller.world import Callers


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[OperatorSettings]:
    """The settings of each operator that would have been started."""
    found: list[OperatorSettings] = []

    async def note(settings: OperatorSettings, *_: Any) -> None:
        found.append(settings)

    monkeypatch.setattr(module, "_until_signalled", note)
    return found


def settings(given: list[OperatorSettings], *words: str, **environ: str) -> OperatorSettings:
    done = CliRunner().invoke(module.command, ["--cluster", "here", *words], env=environ)
    assert done.exit_code == 0, done.output
    return given.pop()


def test_a_first_event_is_looked_for_whatever_else_is_said(given: list[OperatorSettings]) -> None:
    """It comes by another process: without looking, a mapping could still be changed after it."""
    assert settings(given).timing.first == 10.0
    timing = settings(given, "--deletion-timeout", "3").timing
    assert (timing.first, timing.deletion) == (10.0, 3.0)


def test_how_the_gateway_knows_callers(given: list[OperatorSettings]) -> None:
    assert settings(given).callers == Callers(reviews=True)
    told = settings(given, PIK_GATEWAY_REVIEWS="false", PIK_GATEWAY_TOKENS="shop/a, shop/b,")
    assert told.callers == Callers(reviews=False, tokens=frozenset({"shop/a", "shop/b"}))


def test_pods_of_jobs(given: list[OperatorSettings]) -> None:
    assert settings(given).jobs is None
    words = ("--executor", "Jobs", "--image", "pik:1")
    jobs = settings(given, *words, PIK_IMAGE_PULL_POLICY="Always").jobs
    assert jobs is not None
    assert (jobs.image, jobs.pull_policy) == ("pik:1", "Always")
    jobs = settings(given, *words).jobs
    assert jobs is not None
    assert jobs.pull_policy is None


def test_namespaces(given: list[OperatorSettings]) -> None:
    assert settings(given).watch == ()
    assert settings(given, PIK_WATCH_NAMESPACES="b, a,").watch == ("a", "b")
