"""CPU and memory of a pod."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from pik.api.execution import Amounts, Execution

_SCALES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{name: Decimal(1_000) ** power for power, name in enumerate(("k", "M", "G", "T"), start=1)},
    **{name: Decimal(1_024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}


def amount(quantity: str | int) -> Decimal:
    """In units or bytes. Raises ValueError for what is no quantity of Kubernetes."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", str(quantity))
    if match is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    return Decimal(match[1]) * _SCALES[match[2] or ""]


def resources_of(execution: Execution | None, *, cpu: str, memory: str, exact: str | None) -> dict[str, Any]:
    """A container's `resources`: what the spec says over what the installation sets, where a request or limit
    that only the installation sets gives way. `exact`: memory that is both requested and the limit, whatever
    the installation sets."""
    given = None if execution is None else execution.resources
    requests = _amounts(None if given is None else given.requests)
    limits = _amounts(None if given is None else given.limits)
    if exact is not None:
        requests["memory"] = limits["memory"] = exact
    found: dict[str, dict[str, str | int]] = {"requests": {}, "limits": {}}
    defaults = {"cpu": (cpu, None), "memory": (memory, memory), "ephemeral-storage": (None, None)}
    for name, (usual, most) in defaults.items():
        request, limit = requests.get(name, usual), limits.get(name, most)
        if request is not None and limit is not None and amount(request) > amount(limit):
            if name not in requests:
                request = limit
            elif name not in limits:
                limit = request
        if request is not None:
            found["requests"][name] = request
        if limit is not None:
            found["limits"][name] = limit
    return found


def _amounts(given: Amounts | None) -> dict[str, str | int]:
    return {} if given is None else given.model_dump(by_alias=True, exclude_none=True)


def memory_of(resources: dict[str, Any]) -> str:
    """What a container with these `resources` may take, in bytes, such as `512000000B`."""
    return f"{int(amount(resources['limits']['memory']))}B"
