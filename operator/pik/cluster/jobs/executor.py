"""All that an operator needs to have its work done by Jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pik.cluster.api import Api
from pik.cluster.informer import Informer
from pik.cluster.jobs.children import Children
from pik.cluster.jobs.computations import JobComputations
from pik.cluster.jobs.runs import JobRuns
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.watching import SELECTOR, JobOnlooker
from pik.cluster.paths import jobs
from pik.controller.objects import ObjectKey
from pik.ports.system import Clock, Entropy


@dataclass(frozen=True, slots=True)
class JobExecutor:
    """`informers`: to be run while the operator leads."""

    runs: JobRuns
    computations: JobComputations
    informers: tuple[Informer, ...]


def job_executor(
    api: Api,
    settings: JobSettings,
    namespaces: Sequence[str],
    *,
    clock: Clock,
    entropy: Entropy,
    wake: Callable[[ObjectKey], None],
) -> JobExecutor:
    """`namespaces`: those that are watched; none: all. `wake`: told of an object whose Job has changed."""
    children = Children(api, settings.ttl)
    informers = tuple(
        Informer(api, jobs(place), JobOnlooker(wake), clock=clock, entropy=entropy, labels=SELECTOR)
        for place in (namespaces or (None,))
    )
    return JobExecutor(
        JobRuns(children, settings, clock), JobComputations(children, settings, clock), informers
    )
