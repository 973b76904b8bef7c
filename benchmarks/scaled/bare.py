"""A bare kopf operator, beside which pik's is measured: it says of every CaptureStream that it is Ready, and
does nothing else. `python bare.py KUBECONFIG NAMESPACE`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

import kopf


@kopf.on.create("pik.dev", "v1alpha1", "capturestreams")
@kopf.on.update("pik.dev", "v1alpha1", "capturestreams")
async def ready(patch: kopf.Patch, **_: Any) -> None:
    patch.status["conditions"] = [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Provisioned",
            "message": "it is there",
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ]


def main() -> None:
    kubeconfig, namespace = sys.argv[1:]
    os.environ["KUBECONFIG"] = kubeconfig
    logging.disable(logging.INFO)
    asyncio.run(kopf.operator(standalone=True, namespaces=[namespace]))


if __name__ == "__main__":
    main()
