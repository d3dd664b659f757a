"""What people ask of a job that exists: wait, go on, try again what failed."""

from __future__ import annotations

from service.errors import FailedPrecondition
from service.jobs.ledger import Ledger, no_job


class Control:
    """Transitions of the ledger that people ask for. Asking twice is as asking once.

    All methods raise NotFound if the job does not exist, and FailedPrecondition if it is in no state for that.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def pause(self, job: str) -> None:
        """Hand out no more shards; workers give theirs back at their next micro-batch."""
        await self._ask("pause", job, "only a job that is queued or running can be paused")

    async def resume(self, job: str) -> None:
        """Let a paused job go on."""
        await self._ask("resume", job, "only a paused job can be resumed")

    async def retry(self, job: str) -> None:
        """Give the failed shards of a job that has ended fresh attempts, and let it run again."""
        await self._ask("retry", job, "only a job that has ended with failed shards can be retried")

    async def _ask(self, name: str, job: str, rule: str) -> None:
        why = (await self._ledger.run(name, job)).get("why")
        if why == "unknown":
            raise no_job(job)
        if why:
            text = f"jobs/{job} is {why}; {rule}"
            raise FailedPrecondition(text, reason="WRONG_JOB_STATE", metadata={"job": f"jobs/{job}", "state": why})
