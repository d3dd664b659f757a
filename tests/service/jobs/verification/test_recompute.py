"""Images that are made again to verify a job."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest
from mintage.formulas import text_of

from service.errors import FailedPrecondition, Unavailable
from service.jobs.verification.recompute import Piece, Recomputation
from service.models.asking.drawing import DrawnFiles, DrawnLatents
from tests.support.plans import sampling
from tests.support.verification import PLAN, Bench, Kind, Use


def test_images_are_made_again_and_compared_each_once(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        assert await bench.findings(recompute=10_000) == []
        assert bench.models.generated == [range(0, 3), range(3, 4), range(4, 6), range(6, 8), range(8, 9), range(9, 10)]
        progress = (await bench.parts(recompute=2))[-1].verdict.progress
        assert (progress.samples_recomputed, progress.samples_total) == (2, 2)

    with_job(act)


def test_the_seed_draws_the_samples(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        drawn = []
        for seed in (*range(8), 0):
            bench.models.requests.clear()
            await bench.parts(recompute=2, seed=seed)
            drawn.append(tuple(bench.models.generated))
        assert drawn[0] == drawn[-1] and len(set(drawn)) > 1

    with_job(act)


def test_only_the_drawn_samples_are_compared(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.models.other = range(10)
        for count in (1, 2, 3, 9):
            parts = await bench.parts(recompute=count)
            assert sum(part.WhichOneof("part") == "finding" for part in parts) == count
            assert parts[-1].verdict.progress.samples_recomputed == count

    with_job(act)


def test_an_image_that_the_model_makes_otherwise_is_named(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.models.other = range(5, 7)
        found = [part.finding for part in await bench.parts(recompute=10) if part.WhichOneof("part") == "finding"]
        assert [(each.kind, each.shard, each.index) for each in found] == [
            (Kind.KIND_WRONG_IMAGE, 1, i) for i in (5, 6)
        ]
        assert all(each.expected != each.found for each in found)

    with_job(act)


def test_a_shard_that_cannot_be_read_is_no_reason_to_stop(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        (bench.folder / "data/train-00001-of-00003.tar").unlink()
        assert await bench.findings(recompute=10) == [("MISSING", 1), ("WRONG_IMAGE", 1), ("WRONG_IMAGE", 1)]

    with_job(act)


def test_a_model_that_does_not_answer_for_a_moment_is_asked_again(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.models.failures = [Unavailable("away")]
        assert await bench.findings(recompute=10) == [] and len(bench.models.generated) == 7

    with_job(act)


def test_only_the_model_that_made_the_images_makes_them_again(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        record = bench.registry.find("digits")
        for changed, reason in (
            (dataclasses.replace(record, digest="b" * 64), "MODEL_DIGEST_DIFFERS"),
            (dataclasses.replace(record, device_class="cuda-sm90"), "DEVICE_CHANGED"),
            (dataclasses.replace(record, torch_version="9"), "DEVICE_CHANGED"),
            (dataclasses.replace(record, numerics=2), "DEVICE_CHANGED"),
        ):
            bench.registry.write(changed)
            with pytest.raises(FailedPrecondition) as caught:
                await bench.parts(recompute=1)
            assert caught.value.reason == reason
            assert await bench.findings() == []
        bench.registry.remove("digits")
        with pytest.raises(FailedPrecondition, match=r"digits is not loaded; load the archive"):
            await bench.parts(recompute=1)

    with_job(act)


def test_another_device_is_said_to_be_one_and_not_reported_as_a_difference(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.set_device("cuda-sm90")
        bench.models.other = range(10)
        with pytest.raises(FailedPrecondition, match="now runs on cuda-sm90"):
            await bench.parts(recompute=1)

    with_job(act)


def test_every_image_is_in_exactly_one_piece_however_shards_and_micro_batches_meet() -> None:
    for shard_size in (1, 4, 5, 7):
        for micro_batch in (1, 2, 3, 16):
            plan = dataclasses.replace(PLAN, count=23, shard_size=shard_size, micro_batch=micro_batch)
            record: Any = None
            maker: Any = None
            recomputation = Recomputation(plan, record, maker, count=1000, seed=0, timeout_s=1, retry_budget_s=1)
            pieces = recomputation.draw(range(plan.shards))
            assert [index for piece in pieces for index in piece.indices] == list(range(23))
            assert all(set(piece.indices) <= set(plan.span(piece.shard)) for piece in pieces)
            assert all(np.ptp([index // micro_batch for index in piece.indices]) == 0 for piece in pieces)


def test_drawn_images_are_drawn_again_from_the_plan_alone() -> None:
    drawn = dataclasses.replace(
        sampling(), latents=("0#1", "0#2 - turn"), directions={"turn": (1.0, 2.0)}, index_step=5, class_index=1
    )
    plan = dataclasses.replace(PLAN, sampling=drawn)
    asked: list[DrawnLatents] = []

    class Drawer:
        async def draw(self, record: Any, drawn: DrawnLatents, **_: Any) -> DrawnFiles:
            asked.append(drawn)
            raise FailedPrecondition("asked")

    maker: Any = Drawer()
    recomputation = Recomputation(plan, maker, maker, count=1, seed=0, timeout_s=1, retry_budget_s=1)
    with pytest.raises(FailedPrecondition, match="asked"):
        asyncio.run(recomputation.recompute(maker, Piece(0, (1, 3))))
    [found] = asked
    assert list(map(text_of, found.latents)) == ["0#2 - turn", "0#6", "0#7 - turn"]
    assert (found.directions, found.class_index) == ({"turn": (1.0, 2.0)}, 1)
