"""How much memory a computation gets. Pure."""

from __future__ import annotations

import re

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,  # as Kubernetes writes them
}
_INTERPRETER = 192 * 2**20  # bytes that a process takes beside DuckDB (160 MiB measured, idle)
_SHARE = 0.75  # of the rest: DuckDB's limit is not all that it takes, and results are not in it
_LEAST = 2**20
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def memory_bytes(text: str) -> int:
    """Of `512MB`, `2GiB` or `2Gi`. Raises ValueError for a text of another form."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"no amount of memory, such as 512MB or 2GiB: {text!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def memory_limit(asked: str | None, most: str | None) -> str | None:
    """Of a computation inside pik's own process: what its spec asks for, but no more than the installation
    gives to any. None: there is no bound."""
    if asked is None:
        return most
    wanted = memory_bytes(asked)
    return f"{wanted if most is None else min(wanted, memory_bytes(most))}B"


def duckdb_limit(memory: int) -> int:
    """Where a process that computes with DuckDB may take so many bytes: DuckDB's own limit, in bytes."""
    return max(int((memory - _INTERPRETER) * _SHARE), memory // 4, _LEAST)
