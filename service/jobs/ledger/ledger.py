"""The ledger: what Redis knows about every job. Despite its name it is an index that can be rebuilt from the disk.

Every transition is one Lua script (`lua/`). Time is Redis's own clock, so a worker's wrong clock changes nothing. Every
script may be sent twice (a client retries a call whose answer was lost) and gives the same answer again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from service.errors import Unavailable
from service.jobs.ledger.errors import LeaseEnded, no_job, unreadable
from service.jobs.ledger.scripts import PREFIX, Scripts, translated
from service.jobs.ledger.views import (
    Dispatch,
    JobState,
    JobView,
    Lease,
    ShardView,
    UnreadableJob,
    dispatch_of,
    leases_of,
    shard_view,
    view_of,
)
from service.jobs.plan import Plan
from service.jobs.steps import Step

STORAGE = PREFIX + "storage"  # why jobs cannot be written, while they cannot
VIEWS = 100  # jobs per script: a few milliseconds of Redis's time


class Ledger:
    """Every query of the ledger and every transition in it.

    All methods raise Unavailable if Redis does not answer, and ResourceExhausted if its memory is full.
    """

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._scripts = Scripts(client)

    async def create(self, plan: Plan) -> bool:
        """Index a job whose plan is on disk; returns whether it was new."""
        return bool((await self.run("create", *_creation(plan, {"state": "QUEUED"})))["created"])

    async def restore(self, plan: Plan, fields: Mapping[str, str | int]) -> bool:
        """Index a job as it was, after its shards; returns whether it was new. `fields` are those of its hash."""
        return bool((await self.run("create", *_creation(plan, fields)))["created"])

    async def restore_shards(self, job: str, digests: Mapping[int, str], errors: Mapping[int, str]) -> None:
        """Index shards of a finished job."""
        records: dict[Any, Any] = {shard: {"s": "D", "a": 0, "f": 0, "d": digest} for shard, digest in digests.items()}
        records |= {shard: {"s": "F", "a": 0, "f": 0, "e": error} for shard, error in errors.items()}
        if records:
            texts = {shard: json.dumps(record) for shard, record in records.items()}
            with translated():
                await self._redis.hset(f"{PREFIX}job:{job}:shards", mapping=texts)

    async def claim(self, job: str, shard: int, *, owner: str, worker: str, lease_s: float) -> Lease | str:
        """Lease a ready shard, or say why not: unknown, stopped, leased, done, failed or wait.

        Args:
            job: the job's id.
            shard: the shard's number.
            owner: unique to this call; a repeated call of the same owner gets the same lease.
            worker: name for people.
            lease_s: seconds until the lease must be renewed.
        """
        reply = await self.run("claim", job, shard, owner, worker, _ms(lease_s))
        if "attempt" not in reply:
            return str(reply["why"])
        return Lease(job, shard, int(reply["attempt"]), str(reply.get("recorded", "")), str(reply.get("plan", "")))

    async def renew(
        self,
        lease: Lease,
        *,
        lease_s: float,
        done: int,
        wanted: int = 0,
        max_images_per_second: float = 0.0,
        trouble: str = "",
    ) -> float:
        """Keep a lease, report progress and book the next images; returns the seconds to wait before making them.

        Args:
            lease: the lease.
            lease_s: seconds from now until it must be renewed again.
            done: images of this shard that are done.
            wanted: images that will be made next; booked against the bound on speed.
            max_images_per_second: the bound, over all workers; 0 is none.
            trouble: what keeps the attempt from going on, if anything does; until it makes images, the job says so.

        Raises:
            LeaseEnded: if the job was paused or cancelled, or another worker may hold the shard.
        """
        reply = await self.run(
            "renew", lease.job, lease.shard, lease.attempt, _ms(lease_s), done, wanted, max_images_per_second, trouble
        )
        if "why" in reply:
            raise LeaseEnded(reply["why"])
        return float(reply["wait_ms"]) / 1000

    async def commit(self, lease: Lease, *, digest: str, images: int, size_bytes: int) -> None:
        """Finish a shard whose file, of this size, and marker are published.

        Raises:
            LeaseEnded: if another attempt holds the shard, or the job has ended.
        """
        reply = await self.run("commit", lease.job, lease.shard, lease.attempt, digest, images, size_bytes)
        if "why" in reply:
            raise LeaseEnded(reply["why"])

    async def fail(self, lease: Lease, error: str, *, max_attempts: int, pause_s: float) -> None:
        """End a failed attempt; `max_attempts` failures are final, before that the pause doubles each time."""
        await self.run("fail", lease.job, lease.shard, lease.attempt, error, max_attempts, _ms(pause_s))

    async def hand_back(self, lease: Lease) -> None:
        """Give a lease back; the attempt does not count as a failure."""
        await self.run("hand_back", lease.job, lease.shard, lease.attempt)

    async def expire(self, *, max_attempts: int, pause_s: float, limit: int = 100) -> list[Lease]:
        """Take back expired leases, and return them."""
        return leases_of(await self.run("expire", limit, max_attempts, _ms(pause_s)))

    async def cancel(self, job: str) -> None:
        """Cancel a job; a finished one stays as it is.

        Raises:
            NotFound: if it does not exist.
        """
        why = (await self.run("cancel", job)).get("why")
        if why == "newer":
            await self.job(job)  # says why it cannot be read
        if why:
            raise no_job(job)

    async def finish(
        self,
        job: str,
        before: JobState,
        after: JobState,
        *,
        error: str = "",
        root_digest: str = "",
        result: str = "",
        retry_round: int = 0,
    ) -> bool:
        """Bring a job to its terminal state; returns whether it was in state `before`, with no shard leased."""
        return "ok" in await self.run("finish", job, before, after, error, root_digest, result, retry_round)

    async def stalled(self, job: str, reason: str) -> float:
        """Note why the end of a job cannot be written; returns for how many seconds that has been so."""
        return float((await self.run("stall", job, reason))["stalled_ms"]) / 1000

    async def note_step(self, view: JobView, step: Step) -> None:
        """Note what is being done to end a job that is as in the view; gone with its end."""
        text = json.dumps([step.name, step.done, step.total])
        await self.run("step", view.plan.job, view.round, text)

    async def note_storage(self, refusal: str, *, keep_s: float) -> None:
        """Note why jobs cannot be written, believed for `keep_s` seconds, or with '' that they can."""
        with translated():
            if refusal:
                await self._redis.set(STORAGE, refusal, px=_ms(keep_s))
            else:
                await self._redis.delete(STORAGE)

    async def note_unreadable(self, job: str, prefix: str, reason: str) -> bool:
        """List a job whose plan cannot be read; returns whether that was new. One that is known otherwise stays so."""
        return bool((await self.run("unreadable", "note", prefix, job, reason))["noted"])

    async def forget_unreadable(self, prefix: str) -> None:
        """Take a job whose plan can be read, or is gone, off the list of those that cannot."""
        await self.run("unreadable", "forget", prefix)

    async def unreadable_prefixes(self) -> list[str]:
        """Return the folders whose plan could not be read."""
        return list((await self.run("unreadable", "list"))["prefixes"])

    async def reopen(self) -> None:
        """Hand out the shards of jobs again that an older Mintage left alone."""
        await self.run("reopen")

    async def dispatch(self, queue_key: str, *, per_slot: int, lost_after_s: float, dead_after_s: float) -> Dispatch:
        """Choose the shards to send hints for: lost hints again, then new ones by fair share.

        Clients take turns, equally, and so do the jobs of one client, a job of priority p 1.25^p times as often as one
        of priority 0 (start-time fair queueing: a client gains nothing by being away). A share is never 0, so no job
        starves; a lone job gets everything.

        Args:
            queue_key: the broker's list of hints.
            per_slot: hints to keep in flight for each live worker slot.
            lost_after_s: age after which a hint that is no longer in the queue counts as lost.
            dead_after_s: age after which a worker's last heartbeat no longer counts.
        """
        ages = _ms(lost_after_s), _ms(dead_after_s)
        return dispatch_of(await self.run("dispatch", per_slot, *ages, keys=[queue_key]))

    async def ending(self) -> list[str]:
        """Return the jobs that can be finished now."""
        return list((await self.run("ending"))["jobs"])

    async def heartbeat(self, worker: str, slots: int) -> None:
        """Send a worker's heartbeat; 0 slots means that it leaves."""
        await self.run("heartbeat", worker, slots)

    async def lead(self, name: str, *, lease_s: float) -> bool:
        """Become or stay the leading dispatcher; a lease of 0 gives it up."""
        return bool((await self.run("lead", name, _ms(lease_s)))["leads"])

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return as soon as there is work, or after timeout_s."""
        with translated():
            await self._redis.blpop([PREFIX + "wake"], timeout=timeout_s)

    async def incarnation(self) -> str:
        """Return a value that changes when Redis restarts, perhaps without the last second's writes, or is emptied."""
        return str((await self.run("incarnation"))["incarnation"])

    async def is_indexed(self) -> bool:
        """Whether every job on disk was indexed as it is there, since Redis was last started or emptied."""
        return bool((await self.run("indexed"))["indexed"])

    async def check_indexed(self) -> None:
        """Check that every job on disk is indexed, so that nobody is told less than there is.

        Raises:
            Unavailable: if Redis was restarted or emptied, and not all jobs are indexed again.
        """
        if not await self.is_indexed():
            raise Unavailable(
                "the job store was restarted or emptied, and the dispatcher is comparing it with the jobs' files; try "
                "again in a moment",
                reason="JOBS_BEING_INDEXED",
            )

    async def note_indexed(self, incarnation: str) -> bool:
        """Note that every job on disk is indexed, unless Redis is in another incarnation by now; returns which."""
        return bool((await self.run("indexed", incarnation))["indexed"])

    async def job(self, job: str) -> JobView:
        """Return one job.

        Raises:
            NotFound: if it does not exist.
            FailedPrecondition: JOB_UNREADABLE, if its plan cannot be read.
        """
        found = await self.find(job)
        if isinstance(found, UnreadableJob):
            raise unreadable(job, found.error)
        return found

    async def find(self, job: str) -> JobView | UnreadableJob:
        """Return one job, also one that cannot be read.

        Raises:
            NotFound: if it does not exist.
        """
        views = await self.views([job])
        if not views:
            raise no_job(job)
        return views[0]

    async def unknown(self, jobs: Sequence[str]) -> list[str]:
        """Return those of the jobs that the ledger does not have."""
        return [job for job, state in zip(jobs, await self.states(jobs), strict=True) if state is None]

    async def states(self, jobs: Sequence[str]) -> list[JobState | None]:
        """Return the states of jobs; None for those that the ledger does not have."""
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for job in jobs:
                pipeline.hget(f"{PREFIX}job:{job}", "state")
            return [state and state.decode() for state in await pipeline.execute()]

    async def revision(self, job: str) -> int:
        """Return the number that grows with every change of a job; 0 if the job does not exist."""
        with translated():
            return int(await self._redis.hget(f"{PREFIX}job:{job}", "rev") or 0)

    async def views(self, jobs: Sequence[str]) -> list[JobView | UnreadableJob]:
        """Return jobs by their ids, without those that do not exist."""
        views: list[JobView | UnreadableJob] = []
        for first in range(0, len(jobs), VIEWS):
            reply = await self.run("view", *jobs[first : first + VIEWS])
            views += [view_of(fields, int(reply["now"])) for fields in reply["views"]]
        return views

    async def shards(self, job: str, *, first: int, limit: int) -> list[ShardView]:
        """Return shards in order.

        Raises:
            NotFound: if the job does not exist.
        """
        reply = await self.run("shards", job, first, limit)
        if "why" in reply:
            raise no_job(job)
        return [shard_view(first + i, record) for i, record in enumerate(reply["records"])]

    async def run(self, name: str, *arguments: str | float, keys: Sequence[str] = ()) -> dict[str, Any]:
        """Run one script; its answer is one JSON object."""
        return await self._scripts.run(name, *arguments, keys=keys)


def _creation(plan: Plan, fields: Mapping[str, str | int]) -> list[str | int]:
    """Return the arguments that index a job: its id and request, then the fields of its hash and their values."""
    known: dict[str, str | int] = {
        "plan": plan.to_json().decode(),
        "version": plan.version,
        "shards": plan.shards,
        "created": plan.create_time_ms,
        "kind": plan.kind,
        "priority": plan.priority,
        "client": plan.client,
        "images": plan.count,
        "backend": plan.backend_name,
    }
    if plan.needs:
        known["needs"] = " ".join(plan.needs)
    if plan.ttl_ms:
        known["ttl"] = plan.ttl_ms
    if plan.max_failed_shards is not None:
        known["max_failed"] = plan.max_failed_shards
    if plan.labels:
        known["labels"] = json.dumps(plan.labels)
    pairs = (part for pair in {**known, **fields}.items() for part in pair)
    return [plan.job, plan.request_id, plan.request_digest, *pairs]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
