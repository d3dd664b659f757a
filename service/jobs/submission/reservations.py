"""Before a job's plan is on disk: its request id is tied to it, and it counts towards its client's quotas.

Both happen in one script, so that concurrent requests cannot exceed a quota. A reservation whose job was never created
counts for ten minutes at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.errors import AlreadyExists, QuotaExceeded
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.settings import Settings

QUOTA_RETRY_S = 60.0  # advice to a client whose quota is used up: jobs take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Limits of one client: unfinished jobs, images in them, bytes of finished shards. 0 is no limit."""

    jobs: int = 0
    images: int = 0
    size_bytes: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Quotas:
        """Return the quotas of the settings."""
        return cls(jobs=settings.quota_jobs, images=settings.quota_images, size_bytes=settings.quota_bytes)


class Reservations:
    """Reserves jobs in the ledger, whose errors its methods raise."""

    def __init__(self, ledger: Ledger, quotas: Quotas) -> None:
        self._ledger, self._quotas = ledger, quotas

    async def requested(self, request_id: str, digest: str) -> str:
        """Return the id of the job that a request id is tied to, '' if it is free.

        Raises:
            AlreadyExists: if it was used with other parameters.
        """
        return _job(await self._ledger.run("requested", request_id, digest))

    async def reserve(self, plan: Plan) -> str:
        """Tie a plan's request id to its job and count it for its client; returns the job that the id is tied to.

        That is another one if another call of the same request was faster; then nothing was counted.

        Raises:
            AlreadyExists: if the request id was used with other parameters, or the job's folder lies in that of another
                that is being created, or around it.
            QuotaExceeded: if a quota of the client is used up.
        """
        names = (plan.request_id, plan.request_digest, plan.job, plan.backend_name)
        reply = await self._ledger.run("reserve", *names, *self._demand(plan), " ".join(plan.needs), plan.prefix)
        if "nested" in reply:
            why = f"and {reply['nested']}, where another job is being created, lie one in the other"
            raise prefix_taken(plan.prefix, why)
        _check(reply, plan.client)
        return _job(reply)

    async def check(self, plan: Plan) -> None:
        """Check a job against the quotas, and change nothing.

        Raises:
            QuotaExceeded: if one forbids it.
        """
        _check(await self._ledger.run("quota", *self._demand(plan)), plan.client)

    async def release(self, plan: Plan) -> None:
        """Undo the reservation of a job that was not created."""
        await self._ledger.run("release", plan.request_id, plan.job)

    def _demand(self, plan: Plan) -> tuple[str | int, ...]:
        quotas = self._quotas
        return plan.client, plan.count, quotas.jobs, quotas.images, quotas.size_bytes


def prefix_taken(prefix: str, why: str) -> AlreadyExists:
    """Return the error of a job that cannot have its folder."""
    return AlreadyExists(f"the output folder {prefix} {why}; choose another output_prefix", reason="PREFIX_TAKEN")


def _job(reply: dict[str, Any]) -> str:
    if "taken" in reply:
        raise AlreadyExists(
            f"request_id was used for jobs/{reply['taken']} with other parameters; choose another one",
            reason="REQUEST_ID_TAKEN",
            metadata={"job": f"jobs/{reply['taken']}"},
        )
    return str(reply["job"])


def _check(reply: dict[str, Any], client: str) -> None:
    if "quota" not in reply:
        return
    quota = str(reply["quota"])
    limit, used, requested = (int(reply[name]) for name in ("limit", "used", "requested"))
    what, way_out = {
        "jobs": ("unfinished jobs", "wait for one to end, or cancel one"),
        "images": ("images in unfinished jobs", "wait for a job to end, cancel one, or ask for fewer"),
        "bytes": ("bytes of finished shards", "delete a job that is no longer needed (`mintage jobs rm`)"),
    }[quota]
    more = f", asked for: {requested:,} more" if requested else ""
    who = f"the client {client}" if client else "this client"
    raise QuotaExceeded(
        f"the quota of {who} is used up: {used:,} of {limit:,} {what}{more}; {way_out}",
        metadata={"quota": quota, "limit": str(limit), "used": str(used), "requested": str(requested)},
        retry_after_s=QUOTA_RETRY_S if quota != "bytes" and requested <= limit else None,
    )
