"""AWS Lambda: aggregates of what was replayed, from the replay queue (pik.functions.processor)."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pik.functions.invocations import Context, invocation_of
from pik.functions.processor import ProcessorFunction, processor_function


@cache
def _function() -> ProcessorFunction:
    """Made by an instance's first invocation, and kept for those that follow."""
    return processor_function(os.environ, Path(tempfile.mkdtemp(prefix="pik-")))


def handle(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return _function()(event, invocation_of(context))
