"""Fixtures for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.service.jobs.job_api import Api, Use, serving
from tests.valkey import Valkey


@pytest.fixture
def with_api(tmp_path: Path, valkey: Valkey) -> Use:
    """Run a coroutine function against the API."""

    def use(act: Callable[[Api], Coroutine[Any, Any, None]]) -> None:
        settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url})

        async def run() -> None:
            async with serving(settings) as api:
                await act(api)

        asyncio.run(run())

    return use
