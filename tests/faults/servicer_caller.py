"""Calls the API's servicer of jobs in the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.api.servicers.jobs.service import JobServicer
from service.backend.torchserve import TorchServe
from service.jobs.ledger.connection import connect
from service.metrics import Metrics
from service.models.asking.admission import Admissions
from service.models.asking.inference import Inference
from service.models.registry import Registry
from service.settings import Settings

T = TypeVar("T")


class ServicerCaller:
    """A servicer in an event loop of its own thread, with its connections."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._pool = ThreadPoolExecutor(1)

        async def make() -> JobServicer:
            self._client, self._backend = connect(settings), TorchServe.from_settings(settings)
            admissions = Admissions(calls=8, held_bytes=1 << 26)
            inference = Inference(self._backend, registry, admissions=admissions, pool=self._pool, metrics=Metrics())
            return JobServicer(settings, self._client, registry, inference)

        self._api = self._run(make())

    def call(self, act: Callable[[JobServicer], Coroutine[Any, Any, T]]) -> T:
        """Call the servicer; any thread may."""
        return self._run(act(self._api))

    def close(self) -> None:
        """Close the connections and end the thread."""

        async def close() -> None:
            await self._backend.close()
            await self._client.aclose()

        self._run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
