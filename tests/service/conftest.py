"""Fixtures for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from service.api.servicers.jobs.service import JobServicer
from service.jobs.ledger.ledger import Ledger, connect
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import write_plan
from service.jobs.workers.attempt import ShardRunner
from service.settings import Settings
from tests.faults.engine import Models
from tests.service.jobs.workers.test_attempt import Backend
from tests.support import ledgers, verification
from tests.support.job_api import Api, Use, serving
from tests.support.valkey import Valkey

ON_REDIS_TOO = (
    "test_ledger",
    "test_ledger_model",
    "test_leases",
    "test_dispatch",
    "test_giving_up",
    "test_fair_share",
    "test_queries",
    "test_quotas",
    "test_retention",
)


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


@pytest.fixture
def with_job(tmp_path: Path, valkey: Valkey) -> verification.Use:
    """Run a coroutine function with a finished job."""
    variables = {"state_dir": tmp_path, "redis_url": valkey.url, "backend_retry_s": 1.0}
    settings = Settings.model_validate(variables)

    async def run(act: verification.Act) -> None:
        client = connect(settings)
        try:
            ledger, maker, models = Ledger(client), verification.Maker(), Models(shape=verification.SHAPE)
            await ledger.create(write_plan(open_store(settings), verification.PLAN))
            for shard in range(verification.PLAN.shards):
                assert (
                    await ShardRunner(settings, ledger, Backend(), "w").run_shard(verification.PLAN.job, shard)
                    == "done"
                )
            await verification.sign_off(settings, ledger)
            registry: Any = models
            await act(
                verification.Bench(settings, ledger, maker, models, JobServicer(settings, client, registry, maker))
            )
        finally:
            await client.aclose()

    return lambda act: asyncio.run(run(act))
