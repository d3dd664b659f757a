"""One attempt at a shard: made in order, committed, or stopped in the middle without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import tarfile
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest

from service.jobs.ledger.control import Control
from service.jobs.shards.formats.choice import open_images
from service.jobs.shards.marker import read_marker
from service.jobs.storage.store import open_store
from tests.support.attempts import MODEL, PLAN, Bench, left_behind, on_bench
from tests.support.formula import pixels
from tests.support.plans import sampling
from tests.support.valkey import Valkey


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
