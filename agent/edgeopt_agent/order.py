"""Which benchmark runs next: in arrival order, but what a lease holds back comes after it."""

from __future__ import annotations

from collections.abc import Iterable

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.job import Job
from edgeopt_agent.journal import LeaseRecord, Response


def pending(jobs: Iterable[Job], lease: LeaseRecord | None) -> list[Job]:
    """Those that have not ended: the running one, then the others as they will run."""

    def order(job: Job) -> tuple[bool, bool, int]:
        return (job.queued, is_held_back(job, lease), job.entry.arrival)

    return sorted((job for job in jobs if not job.ended), key=order)


def is_held_back(job: Job, lease: LeaseRecord | None) -> bool:
    """Whether a job waits for the end of a lease."""
    return (
        lease is not None
        and job.benchmark.fencing_number != lease.fencing_number
        and job.entry.arrival > lease.after_arrival
    )


def waiting(job: Job, ahead: int, lease: LeaseRecord | None, remaining_ns: int) -> Response:
    """What to tell of a job that waits.

    Args:
        job: that waits.
        ahead: how many run before it.
        lease: the current one.
        remaining_ns: of the lease's term.
    """
    progress = benchmark_pb2.Progress(phase=benchmark_pb2.Progress.PHASE_WAITING, ahead=ahead)
    if lease is not None and is_held_back(job, lease):
        progress.lease_holder = lease.holder
        progress.lease_remaining_ns = remaining_ns
    return Response(event=benchmark_pb2.BenchmarkEvent(progress=progress))


def is_under(job: Job, fencing_number: int) -> bool:
    """Whether a job that has not ended was created under this lease."""
    return job.benchmark.fencing_number == fencing_number and not job.ended


def has_lost_its_lease(job: Job, lease: LeaseRecord | None) -> bool:
    """Whether the lease that a job was created under is not the current one."""
    number = job.benchmark.fencing_number
    return bool(number) and (lease is None or lease.fencing_number != number)


def lease_lost(fencing_number: int, how: str) -> WorkerError:
    """Why a job under a lease that is over ends."""
    return WorkerError("LEASE_LOST", f"lease {fencing_number}, under which this was started, {how}")
