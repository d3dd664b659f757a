"""Fixtures for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.api.servicers.jobs.service import JobServicer
from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import write_plan
from service.jobs.workers.attempt import ShardRunner
from service.metrics import Metrics
from service.models.asking.admission import Admissions
from service.models.asking.inference import Inference
from service.models.registry import Registry
from service.settings import Settings
from tests.support import ledgers, verification
from tests.support.formula import GENERATOR, put
from tests.support.job_api import Api, Use, serving
from tests.support.model_server import FakeModelServer
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
    variables = {"state_dir": tmp_path, "redis_url": valkey.url, "backend_retry_s": 60.0}
    settings = Settings.model_validate(variables)

    async def run(act: verification.Act) -> None:
        client, plan = connect(settings), verification.PLAN
        model = replace(GENERATOR, height=plan.height, width=plan.width, channels=plan.channels)
        models = FakeModelServer(models={plan.backend_name: model})
        put(settings.archives, plan.model, "generator", model)
        registry = Registry(settings.archives)
        admissions = Admissions(calls=8, held_bytes=1 << 26)
        try:
            with ThreadPoolExecutor(1) as pool:
                ledger = Ledger(client)
                await ledger.create(write_plan(open_store(settings), plan))
                for shard in range(plan.shards):
                    assert await ShardRunner(settings, ledger, models, "w").run_shard(plan.job, shard) == "done"
                await verification.sign_off(settings, ledger)
                models.requests.clear()
                inference = Inference(models, registry, admissions=admissions, pool=pool, metrics=Metrics())
                api = JobServicer(settings, client, registry, inference)
                await act(verification.Bench(settings, ledger, models, registry, api))
        finally:
            await client.aclose()

    return lambda act: asyncio.run(run(act))
