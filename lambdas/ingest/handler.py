"""AWS Lambda: events into one stream, by a Function URL or API Gateway (pik.functions.ingest)."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from pik.functions.ingest import IngestFunction, ingest_function


@cache
def _function() -> IngestFunction:
    """Made by an instance's first invocation, and kept for those that follow."""
    return ingest_function(os.environ, Path("/tmp"))  # noqa: S108 - the one folder that a function may write to


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    return _function()(event)
