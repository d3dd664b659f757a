"""Pause, resume, retry and delete a job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from service.errors import FailedPrecondition
from service.jobs.faults import crash_point
from service.jobs.ledger.errors import no_job
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView
from service.jobs.plan import PLAN_FILE, Plan
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store

DELETE_AGAIN_AFTER_S = 10.0  # after which the dispatcher takes an unfinished deletion for an interrupted one
RETRY_PAGE = REMAKE_PAGE = 250  # records of shards that one script looks at: about a millisecond of Redis's time


class Control:
    """Transitions of the ledger that users ask for. They are idempotent.

    All methods raise NotFound if the job does not exist, and FailedPrecondition if its state does not allow the
    transition.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def pause(self, job: str) -> None:
        """Hand out no more shards; workers give theirs back within a second."""
        await self._ask("pause", job, "only a job that is queued or running can be paused")

    async def resume(self, job: str) -> None:
        """Resume a paused job."""
        await self._ask("resume", job, "only a paused job can be resumed")

    async def retry(self, job: str) -> None:
        """Give the failed shards of a job that failed, or succeeded in part, fresh attempts, and let it run again.

        Shards that are damaged or missing are found, and made again, before it ends.
        """
        await self._run_again(job, "retry", "only a job that failed, or succeeded in part, can be retried")

    async def repair(self, job: str) -> None:
        """Let a finished job run again for its failed shards and for those that the ledger was told to remake."""
        await self._run_again(job, "repair", "only a job that succeeded, in part or not, or failed can be repaired")

    async def _run_again(self, job: str, why: Literal["retry", "repair"], rule: str) -> None:
        cursor = "0"
        while (cursor := (await self._ask("retry", job, rule, cursor, RETRY_PAGE, why))["cursor"]) != "0":
            pass

    async def remake(self, view: JobView, shards: Sequence[int], *, error: str = "") -> None:
        """Have shards that were done made again, with the bytes that they had; with an error they count as failed.

        Nothing happens before `mend`, `retry` or `repair` lets the job run, nor if the job is not as in the view.
        """
        for first in range(0, len(shards), REMAKE_PAGE):
            page = shards[first : first + REMAKE_PAGE]
            pairs = [number for shard in page for number in (shard, len(view.plan.span(shard)))]
            await self._ledger.run("remake", view.plan.job, view.state, view.round, error, *pairs)

    async def mend(self, view: JobView) -> None:
        """Let a complete job run again, for the shards that must be made again."""
        await self._ledger.run("mend", view.plan.job, view.round)

    async def delete(self, job: str, store: Store) -> None:
        """Delete a finished job: its folder below `store`, then its record in the ledger.

        From the first step on the job can only be deleted; the next call, or the dispatcher after a while, finishes an
        interrupted deletion.
        """
        await self._ask("delete", job, "cancel it first, or delete it with force", round(DELETE_AGAIN_AFTER_S * 1000))
        plan = (await self._ledger.job(job)).plan
        await asyncio.to_thread(_remove_files, store, plan)
        await self._ledger.run("forget", job, plan.request_id)

    async def _ask(self, name: str, job: str, rule: str, *arguments: str | int) -> dict[str, Any]:
        reply = await self._ledger.run(name, job, *arguments)
        why = reply.get("why")
        if why == "unknown":
            raise no_job(job)
        if why in ("newer", "UNREADABLE"):
            await self._ledger.job(job)  # says why it cannot be read
        if why:
            text = f"jobs/{job} is {why}; {rule}"
            raise FailedPrecondition(text, reason="WRONG_JOB_STATE", metadata={"job": f"jobs/{job}", "state": why})
        return reply


def _remove_files(store: Store, plan: Plan) -> None:
    """Remove the job's folder, unless another job has it by now; first the plan, without which nothing is a job.

    Raises:
        FailedPrecondition: if files cannot be removed.
    """
    output = store.output(plan.prefix, existing=True)
    try:
        found = output.read(PLAN_FILE)
        if found is None or found == plan.to_json():
            output.remove(PLAN_FILE)
            crash_point("mid_delete")
            output.remove_folder()
    except (OSError, OutputError) as error:
        raise FailedPrecondition(f"the output cannot be removed: {error}", reason="OUTPUT_UNAVAILABLE") from error
