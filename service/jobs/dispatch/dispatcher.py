"""The dispatcher: sends hints, takes back expired leases, finishes jobs. `mintage serve dispatcher`.

Any number may run; one leads by a lease in Redis. Nothing is lost when it dies: its state is in the ledger and on disk,
and everything it does may be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time

import structlog

from service import logs
from service.errors import MintageError
from service.jobs.dispatch.finishing import Finisher
from service.jobs.dispatch.rebuild import index_mended, rebuild
from service.jobs.dispatch.retention import Retention
from service.jobs.dispatch.storage_watch import StorageWatch
from service.jobs.dispatch.unreadable import Unreadable
from service.jobs.intents import Intents
from service.jobs.ledger import heartbeats
from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.turn import Rules, take_turn
from service.jobs.ledger.views import Dispatch, Lease
from service.jobs.messages.app import QUEUE_KEY, TASK, celery_app
from service.jobs.shards.publish import temporary_label
from service.jobs.storage.store import open_store
from service.settings import Settings

LEADER_LEASE_S = 5.0  # after which another dispatcher takes over from a dead one
BUSY_S, IDLE_S = 0.25, 1.0  # between two turns, with and without work; work, and workers that need hints, end a wait
INTENTS_S = 2.0  # between two attempts to write missed intents: asking more often does not empty a full disk
LOST_AFTER_S = 3.0  # age of a hint that is in no queue: a worker claims what it takes within moments
SEND_AGAIN = {"max_retries": 1, "interval_start": 0.1}  # over a new connection

log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run a dispatcher until SIGTERM."""
    logs.configure(settings)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    task = asyncio.ensure_future(Dispatcher(settings).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Dispatcher:
    """One dispatcher."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._redis = connect(settings)
        self._ledger = Ledger(self._redis)
        self._celery = celery_app(settings)
        self._name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._incarnation = ""
        self._rules = Rules(
            lease_s=LEADER_LEASE_S,
            max_attempts=settings.max_attempts,
            pause_s=settings.retry_pause_s,
            queue_key=QUEUE_KEY,
            per_slot=settings.messages_per_slot,
            lost_after_s=LOST_AFTER_S,
            dead_after_s=heartbeats.DEAD_AFTER_S,
        )
        self._finisher = Finisher(settings, self._ledger, self._store)
        self._retention = Retention(self._ledger, self._store)
        self._unreadable = Unreadable(self._ledger, self._store)
        self._storage = StorageWatch(self._ledger, self._store)
        self._intents = Intents(self._ledger, self._store)
        self._next_intents = 0.0

    async def run(self) -> None:
        """Lead whenever no other dispatcher does, until cancelled; errors of Redis are waited out."""
        try:
            while True:
                try:
                    await self._turn()
                except MintageError as error:
                    log.warning("the dispatcher waits", error=error.message)
                    await asyncio.sleep(IDLE_S)
        finally:
            await self._leave()

    async def _turn(self) -> None:
        turn = await take_turn(self._ledger, self._name, self._incarnation, self._rules)
        if not turn.leads:
            self._incarnation = ""
            await asyncio.sleep(IDLE_S)
        elif turn.dispatch is None:
            await self._rebuild()
        else:
            self._finisher.begin(turn.ending)
            await self._send(turn.dispatch)
            await self._clean_up(turn.ended)
            await self._retention.poll()
            self._storage.poll()
            await index_mended(self._ledger, self._store, self._unreadable)
            await self._record_intents()
            await self._ledger.wait_for_work(BUSY_S if turn.dispatch.busy else IDLE_S)

    async def _send(self, dispatch: Dispatch) -> None:
        if dispatch.hints:
            await asyncio.to_thread(self.send, dispatch.hints)

    async def _record_intents(self) -> None:
        """Write the intents that found no space before."""
        if time.monotonic() >= self._next_intents:
            self._next_intents = time.monotonic() + INTENTS_S
            await self._intents.record_missed()

    async def _rebuild(self) -> None:
        """Index what is on disk and not in the ledger: on beginning to lead, and after Redis lost something."""
        incarnation = await self._ledger.incarnation()
        jobs = await rebuild(self._ledger, self._store)
        log.info("the dispatcher leads", name=self._name, jobs_rebuilt=jobs)
        await self._ledger.reopen()
        if await self._ledger.note_indexed(incarnation):  # else it was emptied meanwhile
            self._incarnation = await self._ledger.incarnation()

    async def _clean_up(self, ended: list[Lease]) -> None:
        """Remove what the attempts left whose leases were taken back."""
        for lease in ended:
            log.warning("lease lost", job=lease.job, shard=lease.shard, attempt=lease.attempt)
            prefix = (await self._ledger.job(lease.job)).plan.prefix
            label = temporary_label(lease.shard, lease.attempt)
            await asyncio.to_thread(self._store.output(prefix).remove_temporaries, label)

    def send(self, hints: list[tuple[str, int]]) -> None:
        """Send hints to the broker; lost ones are sent again later."""
        try:
            with self._celery.producer_or_acquire() as producer:
                for job, shard in hints:
                    self._celery.send_task(TASK, args=[job, shard], producer=producer, retry_policy=SEND_AGAIN)
        except Exception as error:  # kombu raises what its transport raises
            log.warning("hints were not sent", error=f"{type(error).__name__}: {error}")

    async def _leave(self) -> None:
        """Let another dispatcher lead at once."""
        await self._finisher.close()
        await self._retention.close()
        await self._storage.close()
        with contextlib.suppress(MintageError):
            await self._ledger.lead(self._name, lease_s=0)
        await self._redis.aclose()
        self._celery.close()
