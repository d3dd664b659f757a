from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import itertools
import json
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest

from service.errors import Internal, MintageError, Unavailable
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger, connect
from service.jobs.ledger.views import ShardView
from service.jobs.plan import Plan, Sampling
from service.jobs.retries import retry_transient
from service.jobs.shards.formats.choice import open_images
from service.jobs.shards.marker import read_marker
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import write_plan
from service.jobs.workers.attempt import ShardRunner, failure_text
from service.jobs.workers.work import RequestSize
from service.settings import Settings
from tests.support.formula import GENERATOR, pixels
from tests.support.model_server import FakeModelServer
from tests.support.plans import sample_plan, sampling, score_plan
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
    return [path.name for path in settings.state_dir.rglob(".tmp/*")]


def test_a_shard_is_made_in_order_and_committed(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        assert await bench.runner.run_shard(PLAN.job, 1) == "done"
        marker = read_marker(open_store(bench.settings).output(PLAN.prefix), 1)
        shard = await bench.shard(1)
        assert marker is not None and (shard.state, shard.digest) == ("DONE", marker.digest)
        assert bench.backend.generated == [range(4, 6), range(6, 8)]  # whole micro-batches
        assert (await bench.ledger.job(PLAN.job)).images_committed == 4
        assert left_behind(bench.settings) == []

    on_bench(tmp_path, valkey, act)


def test_a_wrong_hint_does_nothing(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        assert await bench.runner.run_shard("nosuchjob", 0) == "unknown"
        assert await bench.runner.run_shard(PLAN.job, 77) == "unknown"
        await bench.runner.run_shard(PLAN.job, 0)
        assert await bench.runner.run_shard(PLAN.job, 0) == "done"
        assert len(bench.backend.generated) == 2

    on_bench(tmp_path, valkey, act)


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


def test_a_cancelled_job_stops_its_runner_in_the_middle_of_a_request(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        async def hang() -> None:
            await bench.ledger.cancel(PLAN.job)
            await asyncio.Event().wait()

        bench.backend.before = hang
        async with asyncio.timeout(60):
            assert await bench.runner.run_shard(PLAN.job, 0) == "cancelled"
        assert (await bench.shard()).state == "READY"
        assert await bench.ledger.ending() == [PLAN.job]
        assert left_behind(bench.settings) == []

    on_bench(tmp_path, valkey, act)


def test_a_paused_job_gets_its_shard_back_without_an_attempt_and_goes_on_later(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        async def pause() -> None:
            await Control(bench.ledger).pause(PLAN.job)

        bench.backend.before = pause
        assert await bench.runner.run_shard(PLAN.job, 0) == "paused"
        shard = await bench.shard()
        assert (shard.state, shard.error) == ("READY", "")
        assert await bench.runner.run_shard(PLAN.job, 0) == "stopped"
        assert left_behind(bench.settings) == [] and not list(bench.settings.state_dir.rglob("*.tar"))
        bench.backend.before = None
        await Control(bench.ledger).resume(PLAN.job)
        assert await bench.runner.run_shard(PLAN.job, 0) == "done"

    on_bench(tmp_path, valkey, act, max_attempts=1)


def test_a_fenced_runner_publishes_nothing(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        async def lose_the_lease() -> None:
            client = valkey.client()
            client.zadd("mintage:leases", {f"{PLAN.job} 0": 1})
            client.close()
            await bench.ledger.expire(max_attempts=3, pause_s=0)

        bench.backend.before = lose_the_lease
        assert await bench.runner.run_shard(PLAN.job, 0) == "fenced"
        assert not list(bench.settings.state_dir.rglob("*.tar"))
        assert left_behind(bench.settings) == []

    on_bench(tmp_path, valkey, act)


def test_a_runner_that_is_told_to_stop_hands_its_lease_back(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        bench.backend.before = hang
        attempt = asyncio.create_task(bench.runner.run_shard(PLAN.job, 0))
        await begun.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        shard = await bench.shard()
        assert (shard.state, shard.error) == ("READY", "")
        assert left_behind(bench.settings) == []

    on_bench(tmp_path, valkey, act)


def test_the_lease_is_kept_while_a_request_takes_longer_than_it(tmp_path: Path, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        async def take_long() -> None:
            with contextlib.closing(valkey.client()) as client:
                first_end_ms = client.zscore("mintage:leases", f"{PLAN.job} 0") or 0.0
                async with asyncio.timeout(60):
                    while 1000 * client.time()[0] < first_end_ms:
                        await asyncio.sleep(0.05)
            assert await bench.ledger.expire(max_attempts=3, pause_s=0) == []

        bench.backend.before = take_long
        assert await bench.runner.run_shard(PLAN.job, 0) == "done"

    on_bench(tmp_path, valkey, act, lease_s=3.0)


def test_requests_grow_while_answers_are_quick_and_shrink_when_they_are_not() -> None:
    size = RequestSize(64)
    plan = sample_plan(count=10_000, shard_size=10_000, micro_batch=64)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(64)
    for _ in range(20):
        size.took(0.01)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(1024)
    assert size.cut(plan, 100, 10_000, 1 << 26) == range(100, 1088)  # ends where a micro-batch ends
    assert size.cut(plan, 9_990, 10_000, 1 << 26) == range(9_990, 10_000)
    for _ in range(20):
        size.took(2.0)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(64)  # never less than a micro-batch
    assert size.cut(dataclasses.replace(plan, rows_free=True), 0, 10_000, 1 << 26) == range(1)


def test_where_rows_are_free_a_request_has_as_many_images_as_it_may_wherever_micro_batches_begin() -> None:
    size = RequestSize(64)
    plan = sample_plan(count=10_000, shard_size=10_000, micro_batch=100, rows_free=True)
    assert size.cut(plan, 7, 10_000, 1 << 26) == range(7, 71)
    assert size.cut(plan, 9_990, 10_000, 1 << 26) == range(9_990, 10_000)
    assert size.cut(plan, 7, 10_000, 2 * 12 * 5) == range(7, 12)  # five images are as many as fit


def test_a_micro_batch_that_is_too_large_for_a_message_is_cut() -> None:
    plan = sample_plan(count=100, shard_size=100, micro_batch=64, height=1000, width=1000, channels=3)
    assert RequestSize(64).cut(plan, 0, 100, 64 << 20) == range(11)
    assert RequestSize(64).cut(plan, 60, 100, 64 << 20) == range(60, 64)
    assert RequestSize(64).cut(plan, 0, 100, 1000) == range(1)


@pytest.mark.parametrize("most_bytes", [64 << 20, 2 * 100 * 12, 2 * 40 * 12], ids=["plenty", "100 images", "40 images"])
def test_an_image_is_scored_in_the_same_row_whatever_is_asked_for_together(most_bytes: int) -> None:
    plan = score_plan(sample_plan(count=1000, shard_size=150, micro_batch=64), "b" * 64)

    def rows(batches: list[int]) -> dict[int, tuple[int, int]]:
        """Row of each image in its micro-batch, and how many images that one has."""
        found: dict[int, tuple[int, int]] = {}
        size, turn = RequestSize(64), itertools.cycle(batches)
        for shard in range(plan.shards):
            span = plan.span(shard)
            start = span.start
            while start < span.stop:
                size.images = 64 * next(turn)
                asked = size.cut(plan, start, span.stop, most_bytes)
                for index in asked:
                    row, batch = (index - asked.start) % 64, (index - asked.start) // 64
                    found[index] = row, min(len(asked) - 64 * batch, 64)
                start = asked.stop
        return found

    assert rows([1]) == rows([1024]) == rows([2, 1, 1, 3])


def test_patience_ends() -> None:
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("never")

    with pytest.raises(Unavailable):
        asyncio.run(retry_transient(fail, 0.3))
    assert 1 <= calls <= 5  # as many as the machine's speed and the growing pauses allow


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


def test_a_job_of_formulas_draws_them_and_says_so_beside_each_image(tmp_path: Path, valkey: Valkey) -> None:
    drawn = dataclasses.replace(
        sampling(), latents=("7#0", "7#1", "7#0 + turn"), directions={"turn": (1.0,) * 16}, index_step=2, class_index=0
    )
    drawn = dataclasses.replace(drawn, classes=("a", "b"))
    plan = dataclasses.replace(PLAN, sampling=drawn)

    async def act(bench: Bench) -> None:
        assert await bench.runner.run_shard(plan.job, 1) == "done"
        sent = bench.backend.operations("draw")
        assert [len(each["latents"]) for each in sent] == [2, 2] and {each["class"] for each in sent} == {0}
        output = open_store(bench.settings).output(plan.prefix)
        with output.open("data/train-00001-of-00003.tar") as file, tarfile.open(fileobj=file) as tar:
            said = [json.load(cast(IO[bytes], tar.extractfile(name))) for name in tar.getnames()[2::3]]
        assert [(each["index"], each["latent"], each["label"]) for each in said] == [
            (4, "7#3", 0),
            (5, "7#2 + turn", 0),
            (6, "7#4", 0),
            (7, "7#5", 0),
        ]
        assert not any("seed" in each for each in said)
        with open_images(output, plan, 1) as images:
            [image] = images.read(range(4, 5))
        assert np.array_equal(image, pixels(7, 3, MODEL)), "a formula that is a sample is the sample"

    on_bench(tmp_path, valkey, act, plan)
