"""An attempt at a shard: claim, compute request by request, write, publish, mark, commit."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import structlog

from service.backend.model_server import Predictor
from service.errors import NO_SPACE, MintageError
from service.jobs.faults import attempting, crash_point
from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Lease
from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.retries import retry_transient
from service.jobs.shards.formats.choice import check_encoder, layout_of
from service.jobs.shards.marker import Marker
from service.jobs.shards.publish import DeterminismError, adopt, publish, temporary_label
from service.jobs.sources.choice import source_digest
from service.jobs.storage.failures import unwritable
from service.jobs.storage.output import AnyTemporary, OutputError, lost
from service.jobs.storage.store import open_store
from service.jobs.workers.work import RequestSize, Work, work_on
from service.settings import Settings

REQUESTS_IN_FLIGHT = 2  # one computes while the answer of the other is stored
REQUEST_TIMEOUT_S = 120.0  # far longer than a request is made to take: the model may be busy with others
RENEW_S = 1.0  # between two renewals, and so how soon a cancel is seen

STORAGE = ("NO_SPACE", "OUTPUT_UNAVAILABLE")  # failures that take somebody to put them right

T = TypeVar("T")

log = structlog.get_logger(__name__)


class ShardRunner:
    """Runs attempts at shards, one after another, for one worker."""

    def __init__(self, settings: Settings, ledger: Ledger, backend: Predictor, worker: str) -> None:
        self.settings = settings
        self.store = open_store(settings)
        self.ledger = ledger
        self.backend = backend
        self.worker = worker
        self.sizes: dict[str, RequestSize] = {}

    async def run_shard(self, job: str, shard: int) -> str:
        """Attempt one shard of a job; returns the outcome, for the log. A wrong hint does nothing.

        A cancelled call gives its lease back at once.
        """
        owner = f"{self.worker}/{secrets.token_hex(8)}"
        lease_s = self.settings.lease_s
        lease = await self.ledger.claim(job, shard, owner=owner, worker=self.worker, lease_s=lease_s)
        if isinstance(lease, str):
            return lease
        attempting(lease.shard, lease.attempt)
        crash_point("after_claim")
        try:
            outcome = await self._attempt(lease)
        except asyncio.CancelledError:
            await self.ledger.hand_back(lease)
            raise
        log.info("shard", job=job, shard=shard, attempt=lease.attempt, outcome=outcome)
        return outcome

    async def _attempt(self, lease: Lease) -> str:
        """Run an attempt at a leased shard and tell the ledger how it ended."""
        plan = None
        try:
            plan = read_plan(lease.plan)
            await Attempt(self, plan, lease).run()
        except LeaseEnded as ended:
            await self.ledger.hand_back(lease)
            return ended.why
        except Exception as error:
            text = await self._failure(plan, error)
            if text.startswith("INTERNAL"):
                log.exception("attempt failed", job=lease.job, shard=lease.shard, attempt=lease.attempt)
            pause_s = self.settings.space_pause_s if text.startswith(STORAGE) else self.settings.retry_pause_s
            await self.ledger.fail(lease, text, max_attempts=self.settings.max_attempts, pause_s=pause_s)
            return text
        return "done"

    async def _failure(self, plan: Plan | None, error: Exception) -> str:
        """Return the ledger's text about a failed attempt; a file that is missing may mean that the folder is."""
        if plan is not None and isinstance(error, FileNotFoundError):
            with contextlib.suppress(MintageError, OSError, OutputError):
                if await asyncio.to_thread(self.store.output(plan.prefix).size, PLAN_FILE) is None:
                    return lost(self.store.uri(plan.prefix))
        return failure_text(error)


class Attempt:
    """One attempt at one shard."""

    def __init__(self, runner: ShardRunner, plan: Plan, lease: Lease) -> None:
        self._runner = runner
        self._plan = plan
        self._lease = lease
        self._settings = runner.settings
        self._output = runner.store.output(plan.prefix, existing=True)
        self._size = runner.sizes.setdefault(plan.backend_name, RequestSize(plan.micro_batch))
        self._done = 0
        self._trouble = ""  # why a call is made again, until it succeeds

    async def run(self) -> None:
        """Work on the shard and keep the lease; whichever ends first ends both."""
        work, keep = asyncio.create_task(self._produce()), asyncio.create_task(self._keep())
        try:
            await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
            await (work if work.done() else keep)
        finally:
            work.cancel()
            keep.cancel()
            await asyncio.gather(work, keep, return_exceptions=True)

    async def _keep(self) -> None:
        """Renew the lease at least once a second, also during a long request, and so notice a cancel soon."""
        while True:
            await asyncio.sleep(min(RENEW_S, self._settings.lease_s / 3))
            await self._renew()

    async def _renew(self, wanted: int = 0) -> float:
        """Renew the lease, retrying while it lasts if Redis does not answer; returns the seconds to wait."""
        sampling = self._plan.sampling
        rate = sampling.max_images_per_second if sampling else 0.0
        return await retry_transient(
            lambda: self._runner.ledger.renew(
                self._lease,
                lease_s=self._settings.lease_s,
                done=self._done,
                wanted=wanted,
                max_images_per_second=rate,
                trouble=self._trouble,
            ),
            self._settings.lease_s,
        )

    async def _produce(self) -> None:
        """Adopt the shard if its file is what is recorded, else make it; then commit it."""
        blank, recorded = await self._retry_transient(self._blank), self._lease.recorded
        marker = await self._retry_transient(lambda: adopt(self._output, self._plan, blank, recorded=recorded))
        if marker is None:
            marker = await self._make(blank)
        crash_point("before_commit")
        await self._runner.ledger.commit(
            self._lease, digest=marker.digest, images=marker.count, size_bytes=marker.bytes
        )

    async def _make(self, blank: Marker) -> Marker:
        check_encoder(self._plan)
        label = temporary_label(self._lease.shard, self._lease.attempt)
        with contextlib.ExitStack() as stack:
            layout, store = layout_of(self._plan), self._runner.store
            temporary = await self._retry_transient(lambda: stack.enter_context(layout.temporary(self._output, label)))
            work = await self._retry_transient(
                lambda: stack.enter_context(work_on(store, self._settings.inputs, self._plan, blank, temporary))
            )
            await self._fill(work)
            await asyncio.to_thread(work.finish)
            marker = await asyncio.to_thread(_completed, blank, work)
            return await self._publish(marker, temporary)

    async def _fill(self, work: Work) -> None:
        """Keep a few requests in flight and store their answers in order, so that all three parts overlap."""
        waiting: deque[tuple[range, asyncio.Task[bytes]]] = deque()
        try:
            for indices in self._requests():
                if self._plan.sampling and self._plan.sampling.max_images_per_second:
                    await asyncio.sleep(await self._renew(len(indices)))
                inputs = await asyncio.to_thread(work.request, indices) if work.reads else work.request(indices)
                waiting.append((indices, asyncio.create_task(self._ask(inputs))))
                if len(waiting) > REQUESTS_IN_FLIGHT:
                    await self._store(work, *waiting.popleft())
            while waiting:
                await self._store(work, *waiting.popleft())
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    def _requests(self) -> Iterator[range]:
        span = self._plan.span(self._lease.shard)
        start = span.start
        while start < span.stop:
            indices = self._size.cut(self._plan, start, span.stop, self._settings.max_message_bytes)
            yield indices
            start = indices.stop

    async def _ask(self, inputs: Mapping[str, bytes]) -> bytes:
        return await retry_transient(lambda: self._predict(inputs), self._settings.backend_retry_s, told=self._told)

    async def _predict(self, inputs: Mapping[str, bytes]) -> bytes:
        begin = time.monotonic()
        answer = await self._runner.backend.predict(
            self._plan.backend_name,
            inputs,
            timeout_s=REQUEST_TIMEOUT_S,
            client=self._plan.client,
            priority="bulk",
        )
        self._size.took(time.monotonic() - begin)
        return answer

    async def _store(self, work: Work, indices: range, answer: asyncio.Task[bytes]) -> None:
        await asyncio.to_thread(work.store, indices, await answer)
        self._done += len(indices)
        crash_point("mid_shard")

    async def _publish(self, marker: Marker, temporary: AnyTemporary) -> Marker:
        """Publish what was written, if the lease is still held."""
        await self._renew()
        recorded = self._lease.recorded
        await self._retry_transient(lambda: publish(self._output, self._plan, marker, temporary, recorded=recorded))
        return marker

    async def _retry_transient(self, call: Callable[[], T]) -> T:
        """Run a call to the store in a thread, retried as calls to the model server are."""
        budget_s = self._settings.backend_retry_s
        return await retry_transient(lambda: asyncio.to_thread(call), budget_s, told=self._told)

    def _told(self, error: MintageError | None) -> None:
        self._trouble = failure_text(error) if error else ""

    def _blank(self) -> Marker:
        """Return the shard's marker, still without digest and size."""
        span = self._plan.span(self._lease.shard)
        return Marker(
            shard=self._lease.shard,
            first_index=span.start,
            count=len(span),
            digest="",
            bytes=0,
            attempt=self._lease.attempt,
            worker=self._runner.worker,
            plan_digest=self._plan.digest,
            source_digest=source_digest(self._runner.store, self._plan, self._lease.shard),
        )


def _completed(blank: Marker, work: Work) -> Marker:
    """Return the marker of what was written."""
    scored = work.source_digest or blank.source_digest
    return replace(blank, digest=work.writer.digest, bytes=work.writer.size, source_digest=scored)


def failure_text(error: Exception) -> str:
    """Return the ledger's text about a failed attempt: a code for machines, then words for people."""
    if isinstance(error, MintageError):
        return f"{error.reason}: {error.message}"
    if isinstance(error, PlanError | DeterminismError | OutputError):
        return f"{error.reason}: {error}"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return "NO_SPACE: the disk of the output folder, or of the spool folder of an object store, is full"
    if isinstance(error, OSError):
        return f"OUTPUT_UNAVAILABLE: {unwritable(error)}"
    return "INTERNAL: the worker failed; its log has the details"
