"""A job that was really made, and its verification, with a model that can be told to go wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from mintage.v1 import verification_pb2

from service.api.servicers.jobs.service import JobServicer
from service.jobs.dispatch.finalize import finalize
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage.store import open_store
from service.models.records import backend_name
from service.models.registry import Registry
from service.settings import Settings
from tests.support.archives import digest_of
from tests.support.model_server import FakeModelServer
from tests.support.plans import sample_plan

DIGEST = digest_of("generator")
PLAN = sample_plan(
    height=4,
    width=3,
    channels=3,
    model_digest=DIGEST,
    backend_name=backend_name("digits", DIGEST),
    micro_batch=3,
)
NAME = f"jobs/{PLAN.job}"
Kind = verification_pb2.Finding.Kind


@dataclasses.dataclass
class Bench:
    """A finished job of ten images in three shards, and what verifies it."""

    settings: Settings
    ledger: Ledger
    models: FakeModelServer
    registry: Registry
    api: JobServicer

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return Path(self.settings.outputs) / PLAN.prefix

    def set_device(self, device_class: str) -> None:
        """Have the model run on another kind of device."""
        model = self.models.models[PLAN.backend_name]
        self.models.models[PLAN.backend_name] = dataclasses.replace(model, device_class=device_class)

    async def parts(self, recompute: int = 0, seed: int = 0) -> list[verification_pb2.VerifyJobResponse]:
        """Verify; returns every part of the answer."""
        request = verification_pb2.VerifyJobRequest(name=NAME, recompute_count=recompute, recompute_seed=seed)
        return [part async for part in self.api.VerifyJob(request, None)]

    async def findings(self, recompute: int = 0) -> list[tuple[str, int | None]]:
        """Verify; returns what was found, and checks that the verdict says so too."""
        *parts, last = await self.parts(recompute)
        found = [part.finding for part in parts if part.WhichOneof("part") == "finding"]
        assert (last.verdict.sound, last.verdict.findings) == (not found, len(found))
        assert all(each.detail for each in found)
        return [(Kind.Name(each.kind)[5:], each.shard if each.HasField("shard") else None) for each in found]


Act = Callable[[Bench], Coroutine[Any, Any, None]]
Use = Callable[[Act], None]


async def sign_off(settings: Settings, ledger: Ledger) -> None:
    """End the job as the dispatcher does."""
    ending = finalize(open_store(settings), PLAN, cancelled=False, errors={})
    assert await ledger.finish(PLAN.job, "FINALIZING", ending.state, root_digest=ending.root_digest)
