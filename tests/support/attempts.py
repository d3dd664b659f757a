"""One attempt at a shard over a fake model, and what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import ShardView
from service.jobs.plan import Plan
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import write_plan
from service.jobs.workers.attempt import ShardRunner
from service.settings import Settings
from tests.support.formula import GENERATOR
from tests.support.model_server import FakeModelServer
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey

PLAN = sample_plan(height=4, width=3, channels=3)
MODEL = dataclasses.replace(GENERATOR, height=PLAN.height, width=PLAN.width, channels=PLAN.channels)


@dataclasses.dataclass
class Bench:
    """One runner, its parts, and what came of it."""

    settings: Settings
    ledger: Ledger
    backend: FakeModelServer
    runner: ShardRunner

    async def shard(self, number: int = 0) -> ShardView:
        """What the ledger knows of a shard."""
        return (await self.ledger.shards(PLAN.job, first=number, limit=1))[0]


def on_bench(
    tmp_path: Path,
    valkey: Valkey,
    act: Callable[[Bench], Coroutine[Any, Any, None]],
    plan: Plan = PLAN,
    **settings: Any,
) -> None:
    """Run a coroutine function with a runner and one job."""
    variables = {"retry_pause_s": 0, "space_pause_s": 0, "backend_retry_s": 60, **settings}
    chosen = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url, **variables})

    async def run() -> None:
        client = connect(chosen)
        try:
            ledger, backend = Ledger(client), FakeModelServer(models={PLAN.backend_name: MODEL})
            await ledger.create(write_plan(open_store(chosen), plan))
            await act(Bench(chosen, ledger, backend, ShardRunner(chosen, ledger, backend, "w")))
        finally:
            await client.aclose()

    asyncio.run(run())


def left_behind(settings: Settings) -> list[str]:
    """Temporary files that nobody has removed."""
    return [path.name for path in settings.state_dir.rglob(".tmp/*")]
