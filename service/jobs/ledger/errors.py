"""What the ledger raises: leases that ended, jobs that there are not or that cannot be read."""

from __future__ import annotations

from service.errors import FailedPrecondition, NotFound


class LeaseEnded(Exception):
    """Raised when a lease is no longer held: `why` is `paused`, `cancelled` or `fenced`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def no_job(job: str) -> NotFound:
    """Return the error of a job that does not exist."""
    return NotFound(f"jobs/{job} does not exist", reason="JOB_NOT_FOUND", metadata={"job": f"jobs/{job}"})


def unreadable(job: str, error: str) -> FailedPrecondition:
    """Return the error of a job whose plan cannot be read."""
    return FailedPrecondition(f"jobs/{job}: {error}", reason="JOB_UNREADABLE", metadata={"job": f"jobs/{job}"})
