"""Whether approvals are governed: whether the admission policy that asks for the right to approve is at work,
found out by a dry-run approval that it has to deny."""

from __future__ import annotations

import re

from pik.cluster.api import Api
from pik.cluster.errors import KubeDenied, KubeNotFound, KubeUnavailable
from pik.cluster.paths import object_at
from pik.cluster.remembering import Holding, Remembered
from pik.controller.objects import ObjectKey
from pik.ports.system import Clock

POLICY = "pik-replayjob-approval"
"""Name of the ValidatingAdmissionPolicy and of its binding."""

_NOBODYS = {"plan": "0" * 64, "by": "nobody (pik asks whether approvals are governed)"}
# the API server's own words before those of the policy; no name of an object can look like it
_DENIED = re.compile(
    rf"replayjobs\.pik\.dev \"[^\"]*\" is forbidden: ValidatingAdmissionPolicy '{POLICY}' with binding "
)
_HOLDING = Holding(good=300.0, bad=5.0, outage=300.0)
_ASKING = 1_000


class GovernedApprovals:
    """`controller.tenancy.ApprovalGuard`, by the API server. An answer holds for a namespace: for 5 minutes
    where approvals are governed, and else for seconds, so that an installation is noticed."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._known: Remembered[str, bool] = Remembered(clock, _HOLDING, asking=_ASKING)

    async def governed(self, job: ObjectKey) -> bool:
        return await self._known.get(job.namespace, lambda: self._denies(job), lambda _: True)

    async def _denies(self, job: ObjectKey) -> bool:
        """Whether the policy denies an approval of this job in the name of somebody else. Raises `KubeError`
        where something else does."""
        try:
            await self._api.patch(object_at(job), {"spec": {"approval": _NOBODYS}}, dryRun="All")
        except KubeDenied as error:
            if _DENIED.match(str(error)):
                return True
            raise
        except KubeNotFound as error:
            raise KubeUnavailable(f"{job} is gone: {error}") from error
        return False
