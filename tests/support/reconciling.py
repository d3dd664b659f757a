"""A reconciler over a fake model server, which reconciles when told to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.models.loader import Loader
from service.models.reconciler import Reconciler
from service.models.registry import Registry
from tests.support.model_server import FakeModelServer


class Bench:
    """A reconciler over a fake model server, which reconciles when told to."""

    def __init__(self, folder: Path, *, wanted: Mapping[str, str] | None = None, **options: float) -> None:
        self.models = FakeModelServer(folder)
        self.registry = Registry(folder)
        self.loader = Loader(self.models, self.registry, response_timeout_s=1)
        times: dict[str, Any] = {"canary_period_s": 0.0, **options}
        self.reconciler = Reconciler(self.models, self.registry, self.loader, wanted=wanted, **times)

    async def reconcile_once(self) -> None:
        """Reconcile, and wait for what it began."""
        await self.reconciler.reconcile_once()
        await self.reconciler.join()

    def state(self, name: str) -> str:
        """Where a model stands."""
        entry = self.registry.entry(name)
        return "absent" if entry is None else entry.condition.state

    def message(self, name: str) -> str:
        """Why it stands there."""
        entry = self.registry.entry(name)
        assert entry is not None
        return entry.condition.message
