"""What is to be done about the Jobs of an object: one thing a pass, decided from what is there and what is
wanted, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pik.cluster.jobs.manifests import Wanted
from pik.cluster.jobs.seen import Job, JobState
from pik.domain.instants import Instant

_FIRST_WAIT = 60.0  # seconds after a failure before the next attempt; doubles with each
_LONGEST_WAIT = 900.0


@dataclass(frozen=True, slots=True)
class Create:
    attempt: int


@dataclass(frozen=True, slots=True)
class Remove:
    """In the foreground: a Job is there until its pods have stopped."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Suspend:
    """Its pods are told to stop, which they do at a checkpoint."""

    job: Job


@dataclass(frozen=True, slots=True)
class Resume:
    job: Job


@dataclass(frozen=True, slots=True)
class Resize:
    job: Job
    parallelism: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing: it goes on."""

    job: Job


@dataclass(frozen=True, slots=True)
class Queue:
    """Nothing: a queue system holds it, and lets it go when it will."""

    job: Job


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing to do with the Job: its outcome is to be looked at."""

    job: Job


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing: an earlier one is still stopping, and is waited for."""


Action = Create | Remove | Resume | Resize | Leave | Queue | Ended | Idle


def halts(jobs: Sequence[Job]) -> list[Suspend | Remove]:
    """What keeps the Jobs of an object, whatever they were made for, from working at present. One that a
    queue system manages goes: that would let it go again."""
    at_work = [job for job in jobs if job.state is JobState.ACTIVE and not job.deleting]
    queued = tuple(job for job in at_work if job.queued)
    suspended: list[Suspend | Remove] = [Suspend(job) for job in at_work if not (job.queued or job.suspended)]
    return [*suspended, Remove(queued)] if queued else suspended


def decide(jobs: Sequence[Job], wanted: Wanted) -> Action:
    """`jobs`: all of the object."""
    there = [job for job in jobs if not job.deleting]
    leaving = len(there) < len(jobs)
    strays = [job for job in there if job.owner != wanted.uid or job.run != wanted.run[:16]]
    mine = sorted((job for job in there if job not in strays), key=lambda job: job.attempt)
    if strays or len(mine) > 1:
        return Remove((*strays, *mine[:-1]))
    if not mine:
        return Idle() if leaving else Create(max((job.attempt for job in jobs), default=0) + 1)
    return _of_one(mine[0], wanted)


def _of_one(job: Job, wanted: Wanted) -> Action:
    if job.state is not JobState.ACTIVE:
        return Ended(job)
    if job.digest != wanted.digest:
        return Remove((job,))
    if job.suspended:
        return Queue(job) if job.queued else Resume(job)
    if job.parallelism != wanted.parallelism:
        return Remove((job,)) if job.queued else Resize(job, wanted.parallelism)
    return Leave(job)


def due_in(job: Job, wanted: Wanted, now: Instant) -> float:
    """Seconds until another attempt is made after one that failed: none where what it was made of has
    changed."""
    if job.digest != wanted.digest or job.image != wanted.image or job.ended is None:
        return 0.0
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(max(0, job.attempt - 1), 10))
    return max(0.0, wait - (now.micros - job.ended.micros) / 1_000_000)
