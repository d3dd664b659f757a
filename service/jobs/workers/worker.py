"""The worker: a Celery worker whose children make shards. `mintage serve worker`.

A child keeps one event loop with its connections. SIGTERM makes it hand its lease back within a moment; the parent
passes its own SIGTERM on as SIGUSR2, so that a warm shutdown does not wait for a shard's end. A child dies with its
parent (Celery asks the kernel for that); then the lease runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

import billiard
import redis.exceptions
import structlog
from celery import bootsteps, shared_task, signals

from service import logs, memory
from service.errors import MintageError
from service.jobs.ledger import heartbeats
from service.jobs.messages.app import QUEUE, TASK, celery_app
from service.settings import Settings, settings

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM; it hands back what it holds and leaves."""
    app = celery_app(settings)
    app.steps["consumer"].add(_HeartbeatStep)
    worker = app.Worker(
        hostname=f"{heartbeats.worker_name(settings)}-{os.getpid()}@mintage",
        queues=[QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


@shared_task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
def run_shard(job: str, shard: int) -> None:
    """Try one shard of a job. The message is a hint: the ledger decides."""
    if not isinstance(job, str) or not isinstance(shard, int) or shard < 0:
        log.warning("bad hint", job=str(job)[:80], shard=str(shard)[:80])
        return
    with contextlib.suppress(asyncio.CancelledError):
        _Child.current().run_shard(job, shard)


class _Child:
    """The state of a pool process between shards: an event loop, connections, and whether it was told to stop."""

    _current: _Child | None = None

    def __init__(self, settings: Settings) -> None:
        memory.keep()
        self._settings = settings
        self._runner = asyncio.Runner()
        self._running: asyncio.Task[Any] | None = None
        self._stopping = False
        self._shard_runner = self._runner.run(self._connect())

    @classmethod
    def current(cls) -> _Child:
        """Return this process's one."""
        if cls._current is None:
            cls._current = cls(settings())
            signal.signal(signal.SIGTERM, _stop_child)  # not earlier: billiard sets its own after the process began
        return cls._current

    async def _connect(self) -> Any:
        from service.backend.torchserve import TorchServe  # noqa: PLC0415
        from service.jobs.ledger.connection import connect  # noqa: PLC0415 - only children need gRPC and NumPy
        from service.jobs.ledger.ledger import Ledger  # noqa: PLC0415 - only children need gRPC and NumPy
        from service.jobs.workers.attempt import ShardRunner  # noqa: PLC0415

        backend = TorchServe.from_settings(self._settings)
        return ShardRunner(
            self._settings, Ledger(connect(self._settings)), backend, heartbeats.worker_name(self._settings)
        )

    def run_shard(self, job: str, shard: int) -> None:
        """Run one attempt to its end, or until SIGTERM.

        Raises:
            asyncio.CancelledError: after a SIGTERM; the lease was handed back.
        """
        try:
            self._runner.run(self._cancellable(job, shard))
        except MintageError as error:
            log.warning("the ledger was lost; the lease runs out", job=job, shard=shard, error=error.message)

    async def _cancellable(self, job: str, shard: int) -> None:
        self._running, self._stopping = asyncio.current_task(), False
        try:
            await self._shard_runner.run_shard(job, shard)
        finally:
            self._running = None

    def hand_back(self) -> bool:
        """Stop the running attempt, if there is one; returns whether there is."""
        if self._running is None:
            return False
        if not self._stopping:  # a second signal must not interrupt it
            self._stopping = True
            self._runner.get_loop().call_soon_threadsafe(self._running.cancel)
        return True


class _HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Tells the dispatcher, from the loop that consumes, how many shards this worker runs at once."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        super().__init__(consumer)
        self._settings = settings()
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin to send heartbeats."""
        self._heartbeat = heartbeats.Heartbeat(self._settings)
        self._send()
        self._timer = consumer.timer.call_repeatedly(heartbeats.HEARTBEAT_S, self._send)

    def stop(self, consumer: Any) -> None:
        """Leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            with contextlib.suppress(redis.exceptions.RedisError):
                self._heartbeat.close()

    def _send(self) -> None:
        with contextlib.suppress(redis.exceptions.RedisError):
            self._heartbeat.send(self._settings.worker_processes)


def _log(**_: Any) -> None:
    logs.configure(settings())


def _begin_child(**_: Any) -> None:
    signal.signal(signal.SIGUSR2, _stop_child)


def _stop_child(number: int, _frame: FrameType | None) -> None:
    child = _Child._current
    if not (child is not None and child.hand_back()) and number == signal.SIGTERM:
        sys.exit(0)


def _stop_children(**_: Any) -> None:
    for child in billiard.active_children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGUSR2)


signals.setup_logging.connect(_log, weak=False)
signals.worker_process_init.connect(_begin_child, weak=False)
signals.worker_shutting_down.connect(_stop_children, weak=False)
