"""Jobs are finished one beside the other, and say how far their end is where it takes long."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from service.jobs.dispatch.finishing import Finisher
from service.jobs.ledger.ledger import Ledger
from service.jobs.shards.marker import marker_name, read_marker
from service.jobs.steps import Step
from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.local_store import LocalStore
from service.jobs.submission.submit import write_plan
from service.settings import Settings
from tests.support.ledgers import JOB, PLAN, Use, claim
from tests.support.shards import make_shards


class SlowStore(LocalStore):
    """A disk that takes its time over the marker of the last shard."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.goes_on = threading.Event()

    def output(self, prefix: str, *, existing: bool = False) -> LocalOutput:
        return SlowOutput(self, prefix, existing=existing)


class SlowOutput(LocalOutput):
    def __init__(self, store: SlowStore, prefix: str, *, existing: bool) -> None:
        super().__init__(store.root, prefix, existing=existing)
        self._goes_on = store.goes_on

    def read(self, name: str) -> bytes | None:
        if name == marker_name(PLAN.shards - 1):
            assert self._goes_on.wait(60)
        return super().read(name)


def test_a_job_whose_end_takes_long_says_how_far_it_is(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        store = SlowStore(tmp_path)
        await ledger.create(write_plan(store, PLAN))
        make_shards(tmp_path, PLAN, range(PLAN.shards))
        for shard in range(PLAN.shards):
            marker = read_marker(LocalStore(tmp_path).output(PLAN.prefix), shard)
            assert marker is not None
            lease = await claim(ledger, shard)
            await ledger.commit(lease, digest=marker.digest, images=marker.count, size_bytes=marker.bytes)
        finisher = Finisher(Settings.model_validate({"state_dir": tmp_path}), ledger, store)
        try:
            async with asyncio.timeout(60):
                finisher.begin([JOB])
                while (view := await ledger.job(JOB)).step is None:
                    await asyncio.sleep(0.05)
                assert view.state == "FINALIZING" and view.step == Step("looking at shards", 2, 3)
                store.goes_on.set()
                while not (view := await ledger.job(JOB)).terminal:
                    await asyncio.sleep(0.05)
                assert (view.state, view.step) == ("SUCCEEDED", None)
        finally:
            store.goes_on.set()
            await finisher.close()

    with_ledger(act)
