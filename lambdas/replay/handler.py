"""AWS Lambda: a slice of one stream into a queue (pik.functions.replay)."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pik.functions.invocations import Context, invocation_of
from pik.functions.replay import ReplayFunction, replay_function


@cache
def _function() -> ReplayFunction:
    """Made by an instance's first invocation, and kept for those that follow."""
    return replay_function(os.environ, Path(tempfile.mkdtemp(prefix="pik-")))


def handle(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return _function()(event, invocation_of(context))
