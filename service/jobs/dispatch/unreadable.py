"""Jobs whose plan cannot be read: listed with the reason, left alone, and picked up once the plan is mended."""

from __future__ import annotations

import asyncio
import re
import time
from hashlib import sha256

import structlog

from service.errors import MintageError
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import PLAN_FILE, NewerError, Plan, PlanError, read_plan
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store

POLL_S = 3.0  # between two looks at the plans that could not be read
_ID = re.compile(rb'"job":\s*"([a-z0-9]{1,40})"')
_OWN_FOLDER = re.compile(r"jobs/([a-z0-9]{16})")

log = structlog.get_logger(__name__)


def stored_plan(store: Store, prefix: str) -> Plan | str | None:
    """Read the plan in a folder; returns why it cannot be read if it cannot, and None if there is none."""
    try:
        data = store.output(prefix).read(PLAN_FILE)
        if data is None:
            return None
        plan = read_plan(data)
    except NewerError as error:
        return f"NEWER_VERSION: {error}"
    except (OSError, OutputError, PlanError, MintageError) as error:
        return f"PLAN_UNREADABLE: plan.json: {error}; put it right, and the job goes on by itself"
    if plan.prefix != prefix:
        return f"PLAN_UNREADABLE: plan.json says that its folder is {plan.prefix}; move it there"
    return plan


class Unreadable:
    """The jobs that are listed as unreadable."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store
        self._next_poll = 0.0

    async def note(self, prefix: str, reason: str) -> None:
        """List a job as unreadable, unless the ledger knows it with its plan."""
        job = await asyncio.to_thread(self._job_in, prefix)
        if await self._ledger.note_unreadable(job, prefix, reason):
            log.error("a plan cannot be read", job=job, prefix=prefix, error=reason)

    async def mended(self) -> list[tuple[str, Plan | None]]:
        """Return the folders of listed jobs whose plan can be read by now, with the plan, or is gone."""
        if time.monotonic() < self._next_poll:
            return []
        self._next_poll = time.monotonic() + POLL_S
        mended = []
        for prefix in await self._ledger.unreadable_prefixes():
            found = await asyncio.to_thread(stored_plan, self._store, prefix)
            if isinstance(found, str):
                await self.note(prefix, found)
            else:
                mended.append((prefix, found))
        return mended

    def _job_in(self, prefix: str) -> str:
        """Return the id of the job in a folder: as the damaged plan has it, or the folder, or made of its name."""
        try:
            match = _ID.search(self._store.output(prefix).read(PLAN_FILE) or b"")
        except (OSError, OutputError, MintageError):
            match = None
        if match:
            return match[1].decode()
        own = _OWN_FOLDER.fullmatch(prefix)
        return own[1] if own else f"unreadable{sha256(prefix.encode()).hexdigest()[:16]}"
