"""Fixtures for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from service.jobs.ledger import Ledger, connect
from service.settings import Settings
from tests.service.jobs import ledgers
from tests.service.jobs.job_api import Api, Use, serving
from tests.valkey import Valkey

ON_REDIS_TOO = ("test_ledger", "test_ledger_model", "test_fair_share", "test_listing")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Drive the ledger on Valkey and on the oldest Redis that it promises to work on."""
    if metafunc.module.__name__.endswith(ON_REDIS_TOO) and "valkey_server" in metafunc.fixturenames:
        metafunc.parametrize("valkey_server", ["valkey", "redis"], indirect=True)


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


@pytest.fixture
def with_ledger(valkey: Valkey) -> ledgers.Use:
    """Run a coroutine function with a ledger on the empty Valkey."""

    def use(act: Callable[[Ledger], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            client = connect(Settings.model_validate({"redis_url": valkey.url}))
            try:
                await act(Ledger(client))
            finally:
                await client.aclose()

        asyncio.run(run())

    return use
