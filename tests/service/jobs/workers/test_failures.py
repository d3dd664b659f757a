"""How attempts fail: what is tried again, what costs an attempt, and what is said."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from pathlib import Path

import pytest

from service.errors import Internal, MintageError, Unavailable
from service.jobs.plan import Sampling
from service.jobs.retries import retry_transient
from service.jobs.workers.attempt import failure_text
from tests.support.attempts import MODEL, PLAN, Bench, left_behind, on_bench
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey


def test_a_model_that_does_not_answer_for_a_moment_costs_no_attempt(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        bench.backend.failures = [Unavailable("restarts")]
        assert await bench.runner.run_shard(PLAN.job, 0) == "done"
        assert (await bench.shard()).attempt == 1

    on_bench(tmp_path, valkey, act)


def test_a_model_that_stays_away_costs_an_attempt(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        bench.backend.failures = [Unavailable("gone")] * 1000
        assert await bench.runner.run_shard(PLAN.job, 0) == "UNAVAILABLE: gone"
        shard = await bench.shard()
        assert (shard.state, shard.attempt, shard.error) == ("READY", 1, "UNAVAILABLE: gone")

    on_bench(tmp_path, valkey, act, backend_retry_s=0.1)


@pytest.mark.parametrize("error", [Internal("the model failed", reason="MODEL_FAILED"), RuntimeError("secret")])
def test_an_attempt_that_failed_for_good_says_why_and_leaves_nothing(
    tmp_path: Path, valkey: Valkey, error: Exception
) -> None:
    async def act(bench: Bench) -> None:
        for _ in range(3):
            bench.backend.failures = [error] * 3
            await bench.runner.run_shard(PLAN.job, 0)
        shard = await bench.shard()
        assert (shard.state, shard.attempt) == ("FAILED", 3)
        expected = (
            "MODEL_FAILED: the model failed" if isinstance(error, MintageError) else "INTERNAL: the worker failed"
        )
        assert shard.error.startswith(expected) and "secret" not in shard.error
        assert left_behind(bench.settings) == []

    on_bench(tmp_path, valkey, act)


def test_another_device_than_the_plans_is_refused(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        bench.backend.models[PLAN.backend_name] = dataclasses.replace(MODEL, device_class="cuda-nvidia-h100")
        assert (await bench.runner.run_shard(PLAN.job, 0)).startswith("DEVICE_CHANGED: the plan was made for cpu")

    on_bench(tmp_path, valkey, act)


def test_another_encoder_than_the_plans_is_refused_before_anything_is_computed(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        plan = sample_plan(job="01k0000000000009", sampling=Sampling(seed=7, encoder="x", max_images_per_second=0.0))
        await bench.ledger.create(plan)
        outcome = await bench.runner.run_shard(plan.job, 0)
        assert outcome.startswith("ENCODER_CHANGED: the images of jobs/01k0000000000009 are encoded by x, but")
        assert "create the job anew" in outcome
        assert bench.backend.requests == []

    on_bench(tmp_path, valkey, act)


def test_patience_ends() -> None:
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("never")

    with pytest.raises(Unavailable):
        asyncio.run(retry_transient(fail, 0.3))
    assert 1 <= calls <= 5  # as many as the machine's speed and the growing pauses allow


def test_who_waits_for_a_call_hears_why_it_is_made_again_and_that_it_succeeded() -> None:
    ends = [Unavailable("away"), Unavailable("still away"), None]
    heard: list[str] = []

    async def call() -> str:
        if error := ends.pop(0):
            raise error
        return "done"

    assert asyncio.run(retry_transient(call, 30, told=lambda error: heard.append(str(error)))) == "done"
    assert heard == ["away", "still away", "None"]


NO_SPACE = "NO_SPACE: the disk of the output folder, or of the spool folder of an object store, is full"


REFUSED = (
    "OUTPUT_UNAVAILABLE: the output folder cannot be written: Permission denied; let the user of Mintage's processes "
    "write there, or set MINTAGE_OUTPUT_DIR to another"
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), NO_SPACE),
        (OSError(errno.EDQUOT, "Quota exceeded"), NO_SPACE),
        (PermissionError(errno.EACCES, "Permission denied"), REFUSED),
        (ZeroDivisionError(), "INTERNAL: the worker failed; its log has the details"),
    ],
)
def test_errors_have_a_code_for_machines(error: Exception, text: str) -> None:
    assert failure_text(error) == text
