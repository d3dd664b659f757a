"""A real TorchServe for tests, on free ports, that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from service.addresses import free_port
from service.backend.torchserve import TorchServe
from service.errors import MintageError
from service.processes.supervisor import Process, Supervisor
from service.settings import Settings

T = TypeVar("T")
READY_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class RunningTorchServe:
    """A TorchServe that answers; archives go into `settings.archives`."""

    settings: Settings
    process: Process

    def call(self, function: Callable[[TorchServe], Awaitable[T]]) -> T:
        """Run a coroutine function with a client of this TorchServe."""

        async def called() -> T:
            client = TorchServe.from_settings(self.settings)
            try:
                return await function(client)
            finally:
                await client.close()

        return asyncio.run(called())

    def worker_processes(self) -> list[psutil.Process]:
        """Return the Python processes that this TorchServe has started."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextlib.contextmanager
def running_torchserve(state_dir: Path, **overrides: str) -> Iterator[RunningTorchServe]:
    """Start a TorchServe without models below a folder; overrides are MINTAGE_* variables by the setting's name."""
    values = {
        "state_dir": str(state_dir),
        "torchserve_inference": f"127.0.0.1:{free_port()}",
        "torchserve_management": f"127.0.0.1:{free_port()}",
        **overrides,
    }
    settings = Settings.model_validate(values)
    environment = {**os.environ, **{f"MINTAGE_{name.upper()}": value for name, value in values.items()}}
    with Supervisor(state_dir / "logs") as supervisor:
        process = supervisor.start(
            "torchserve",
            [sys.executable, "-m", "service", "serve", "torchserve"],
            environment,
            ready=lambda: _answers(settings),
            timeout_s=READY_TIMEOUT_S,
        )
        yield RunningTorchServe(settings, process)


def _answers(settings: Settings) -> bool:
    async def asked() -> bool:
        client = TorchServe.from_settings(settings)
        try:
            await client.list_models()
        except MintageError:
            return False
        finally:
            await client.close()
        return True

    return asyncio.run(asked())
