"""Jobs that were really struck, then changed: what a verification finds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mintage.v1 import verification_pb2

from service.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from service.inference import Generated
from service.jobs.control import Control
from service.jobs.finalize import finalize
from service.jobs.ledger import Ledger, connect
from service.jobs.rebuild import rebuild
from service.jobs.restrike import Restrike
from service.jobs.store import open_store
from service.jobs.strike import Striker
from service.jobs.submit import write_plan
from service.servicers.jobs import JobServicer
from service.settings import Settings
from tests.faults.engine import Models
from tests.faults.model_server import GENERATOR_DIGEST, made_images
from tests.service.jobs.plans import sample_plan
from tests.service.jobs.test_strike import Backend
from tests.valkey import Valkey

SHAPE = (4, 3, 3)
PLAN = sample_plan(height=4, width=3, channels=3, model_digest=GENERATOR_DIGEST, micro_batch=3)
NAME = f"jobs/{PLAN.job}"
Kind = verification_pb2.Finding.Kind


class Maker:
    """Makes the images of the formula; those of `other` are different ones."""

    def __init__(self) -> None:
        self.asked: list[range] = []
        self.other = range(0)
        self.device = "cpu"
        self.failures: list[Exception] = []

    async def generate(
        self, record: Any, *, seed: int, first_index: int, count: int, encode: Any, deadline: Any
    ) -> Generated:
        """Make images."""
        if self.failures:
            raise self.failures.pop(0)
        indices = range(first_index, first_index + count)
        self.asked.append(indices)
        images = made_images(seed, indices, SHAPE)
        images[[index in self.other for index in indices], 0, 0, 0] ^= 1
        return Generated(encode(images), self.device)


@dataclasses.dataclass
class Bench:
    """A finished job of ten images in three shards, and what verifies it."""

    settings: Settings
    ledger: Ledger
    maker: Maker
    models: Models
    api: JobServicer

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return Path(self.settings.outputs) / PLAN.prefix

    async def parts(self, strike: int = 0, seed: int = 0) -> list[verification_pb2.VerifyJobResponse]:
        """Verify; returns every part of the answer."""
        request = verification_pb2.VerifyJobRequest(name=NAME, strike_count=strike, strike_seed=seed)
        return [part async for part in self.api.VerifyJob(request, None)]

    async def findings(self, strike: int = 0) -> list[tuple[str, int | None]]:
        """Verify; returns what was found, and checks that the verdict says so too."""
        *parts, last = await self.parts(strike)
        found = [part.finding for part in parts if part.WhichOneof("part") == "finding"]
        assert (last.verdict.sound, last.verdict.findings) == (not found, len(found))
        assert all(each.detail for each in found)
        return [(Kind.Name(each.kind)[5:], each.shard if each.HasField("shard") else None) for each in found]


Act = Callable[[Bench], Coroutine[Any, Any, None]]
Use = Callable[[Act], None]


@pytest.fixture
def with_job(tmp_path: Path, valkey: Valkey) -> Use:
    """Run a coroutine function with a finished job."""
    variables = {"state_dir": tmp_path, "redis_url": valkey.url, "backend_patience_s": 1.0}
    settings = Settings.model_validate(variables)

    async def run(act: Act) -> None:
        client = connect(settings)
        try:
            ledger, maker, models = Ledger(client), Maker(), Models(shape=SHAPE)
            await ledger.create(write_plan(open_store(settings), PLAN))
            for shard in range(PLAN.shards):
                assert await Striker(settings, ledger, Backend(), "w").strike(PLAN.job, shard) == "done"
            await sign_off(settings, ledger)
            registry: Any = models
            await act(Bench(settings, ledger, maker, models, JobServicer(settings, client, registry, maker)))
        finally:
            await client.aclose()

    return lambda act: asyncio.run(run(act))


async def sign_off(settings: Settings, ledger: Ledger) -> None:
    ending = finalize(open_store(settings), PLAN, cancelled=False, errors={})
    assert await ledger.finish(PLAN.job, "FINALIZING", ending.state, root_digest=ending.root_digest)


def test_a_job_that_nobody_touched_is_sound_and_is_not_changed(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
        first, *_, last = await bench.parts()
        assert first.WhichOneof("part") == "progress" and first.progress.shards_total == 3
        verdict = last.verdict
        assert verdict.sound and (verdict.progress.shards_checked, verdict.progress.shards_total) == (3, 3)
        assert verdict.root_digest == (await bench.ledger.job(PLAN.job)).root_digest
        assert {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()} == before
        assert not bench.maker.asked

    with_job(act)


def flip(path: Path, place: int = -600) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def replace_by_link(path: Path) -> None:
    target = path.rename(path.with_suffix(".real"))
    path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path], object], list[tuple[str, int | None]]]] = {
    "a flipped byte": (lambda job: flip(job / "shards/000001.tar"), [("WRONG_DIGEST", 1)]),
    "a cut file": (
        lambda job: (job / "shards/000001.tar").write_bytes(b""),
        [("WRONG_DIGEST", 1)],
    ),
    "a missing shard": (lambda job: (job / "shards/000002.tar").unlink(), [("MISSING", 2)]),
    "a link": (lambda job: replace_by_link(job / "shards/000002.tar"), [("MISSING", 2)]),
    "a missing marker": (lambda job: (job / "shards/000000.json").unlink(), [("WRONG_MARKER", 0)]),
    "a damaged marker": (lambda job: (job / "shards/000000.json").write_text("{"), [("WRONG_MARKER", 0)]),
    "another digest in a marker": (
        lambda job: edit(job / "shards/000000.json", lambda marker: marker.update(digest="0" * 64)),
        [("WRONG_MARKER", 0)],
    ),
    "another count in a marker": (
        lambda job: edit(job / "shards/000000.json", lambda marker: marker.update(count=3)),
        [("WRONG_MARKER", 0)],
    ),
    "another size in a marker": (
        lambda job: edit(job / "shards/000000.json", lambda marker: marker.update(bytes=3)),
        [("WRONG_MARKER", 0)],
    ),
    "another digest in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][1].update(digest="0" * 64)),
        [("WRONG_MANIFEST", 1)],
    ),
    "another root digest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_.update(root_digest="0" * 64)),
        [("WRONG_MANIFEST", None)],
    ),
    "a shard less in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"].pop()),
        [("WRONG_MANIFEST", 2)],
    ),
    "a shard twice in the manifest": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"].append(all_["shards"][-1])),
        [("WRONG_MANIFEST", 2)],
    ),
    "a shard that there is not": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][2].update(shard=3)),
        [("WRONG_MANIFEST", 3), ("WRONG_MANIFEST", 2)],
    ),
    "another cut": (
        lambda job: edit(job / "manifest.json", lambda all_: all_["shards"][0].update(count=5)),
        [("WRONG_MANIFEST", 0)],
    ),
    "no manifest": (lambda job: (job / "manifest.json").unlink(), [("WRONG_MANIFEST", None)]),
    "a damaged manifest": (lambda job: (job / "manifest.json").write_text("[]"), [("WRONG_MANIFEST", None)]),
    "another plan": (
        lambda job: edit(job / "plan.json", lambda plan: plan.update(count=11)),
        [("WRONG_MANIFEST", None)],
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_whatever_was_changed_is_found_and_nothing_else(with_job: Use, what: str) -> None:
    damage, expected = DAMAGE[what]

    async def act(bench: Bench) -> None:
        damage(bench.folder)
        assert await bench.findings() == expected

    with_job(act)


def test_a_file_that_was_changed_together_with_marker_and_manifest_is_found(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        flip(bench.folder / "shards/000001.tar")
        for name in ("shards/000001.json", "manifest.json", "contact-sheet.png"):
            (bench.folder / name).unlink()
        await Striker(bench.settings, bench.ledger, Backend(), "w").strike(PLAN.job, 1)
        assert [kind for kind, _ in await bench.findings()] == ["WRONG_MANIFEST", "WRONG_DIGEST", "WRONG_MARKER"]

    with_job(act)


def test_a_finding_says_what_was_expected_and_what_is_there(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        expected = (await bench.ledger.shards(PLAN.job, first=1, limit=1))[0].digest
        flip(bench.folder / "shards/000001.tar")
        found = next(part.finding for part in await bench.parts() if part.WhichOneof("part") == "finding")
        assert found.expected == expected and len(found.found) == 64 and found.found != expected

    with_job(act)


def test_a_job_that_succeeded_in_part_and_was_forgotten_by_redis_is_sound(with_job: Use, valkey: Valkey) -> None:
    async def act(bench: Bench) -> None:
        for name in ("shards/000001.tar", "shards/000001.json", "manifest.json"):
            (bench.folder / name).unlink()
        finalize(open_store(bench.settings), PLAN, cancelled=False, errors={1: "BAD: x"})
        with contextlib.closing(valkey.client()) as client:
            client.flushall()
        await rebuild(bench.ledger, open_store(bench.settings))
        assert (await bench.ledger.job(PLAN.job)).state == "PARTIALLY_SUCCEEDED"
        assert await bench.findings(strike=6) == []
        assert bench.maker.asked == [range(0, 3), range(3, 4), range(8, 9), range(9, 10)]

    with_job(act)


def test_images_are_made_again_and_compared_each_once(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        assert await bench.findings(strike=10_000) == []
        assert bench.maker.asked == [range(0, 3), range(3, 4), range(4, 6), range(6, 8), range(8, 9), range(9, 10)]
        progress = (await bench.parts(strike=2))[-1].verdict.progress
        assert (progress.micro_batches_struck, progress.micro_batches_total) == (2, 2)

    with_job(act)


def test_the_seed_draws_the_micro_batches(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        drawn = []
        for seed in (*range(8), 0):
            bench.maker.asked.clear()
            await bench.parts(strike=2, seed=seed)
            drawn.append(tuple(bench.maker.asked))
        assert drawn[0] == drawn[-1] and len(set(drawn)) > 1

    with_job(act)


def test_an_image_that_the_model_makes_otherwise_is_named(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.maker.other = range(5, 7)
        found = [part.finding for part in await bench.parts(strike=6) if part.WhichOneof("part") == "finding"]
        assert [(each.kind, each.shard, each.index) for each in found] == [
            (Kind.KIND_WRONG_IMAGE, 1, i) for i in (5, 6)
        ]
        assert all(each.expected != each.found for each in found)

    with_job(act)


def test_a_shard_that_cannot_be_read_is_no_reason_to_stop(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        (bench.folder / "shards/000001.tar").unlink()
        assert await bench.findings(strike=6) == [("MISSING", 1), ("WRONG_IMAGE", 1), ("WRONG_IMAGE", 1)]

    with_job(act)


def test_a_model_that_does_not_answer_for_a_moment_is_asked_again(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.maker.failures = [Unavailable("away")]
        assert await bench.findings(strike=6) == [] and len(bench.maker.asked) == 6

    with_job(act)


def test_only_the_model_that_made_the_images_makes_them_again(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        record = bench.models.records["digits"]
        for change, reason in (
            ({"digest": "b" * 64}, "MODEL_DIGEST_DIFFERS"),
            ({"device_class": "cuda-sm90"}, "DEVICE_CHANGED"),
            ({"torch_version": "9"}, "DEVICE_CHANGED"),
        ):
            bench.models.records["digits"] = dataclasses.replace(record, **change)
            with pytest.raises(FailedPrecondition) as caught:
                await bench.parts(strike=1)
            assert caught.value.reason == reason
            assert await bench.findings() == []
        del bench.models.records["digits"]
        with pytest.raises(FailedPrecondition, match=r"digits is not loaded; load the archive"):
            await bench.parts(strike=1)

    with_job(act)


def test_another_device_is_said_to_be_one_and_not_reported_as_a_difference(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        bench.maker.device, bench.maker.other = "cuda-sm90", range(10)
        with pytest.raises(FailedPrecondition, match="now runs on cuda-sm90"):
            await bench.parts(strike=1)

    with_job(act)


def test_a_job_that_goes_on_or_does_not_exist_is_not_verified(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        other = dataclasses.replace(PLAN, job="01k0000000000009", prefix="other")
        await bench.ledger.create(write_plan(open_store(bench.settings), other))
        for name, error in (
            (f"jobs/{other.job}", FailedPrecondition),
            ("jobs/nosuch", NotFound),
            ("x", InvalidArgument),
        ):
            with pytest.raises(error):
                await anext(bench.api.VerifyJob(verification_pb2.VerifyJobRequest(name=name), None))
        with pytest.raises(InvalidArgument, match="strike_count"):
            await bench.parts(strike=-1)

    with_job(act)


def test_a_job_that_is_deleted_meanwhile_has_no_verdict(with_job: Use) -> None:
    async def act(bench: Bench) -> None:
        parts = bench.api.VerifyJob(verification_pb2.VerifyJobRequest(name=NAME), None)
        await anext(parts)
        await Control(bench.ledger).delete(PLAN.job, open_store(bench.settings))
        with pytest.raises(NotFound):
            _ = [part async for part in parts]

    with_job(act)


def test_every_image_is_in_exactly_one_piece_however_shards_and_micro_batches_meet() -> None:
    for shard_size in (1, 4, 5, 7):
        for micro_batch in (1, 2, 3, 16):
            plan = dataclasses.replace(PLAN, count=23, shard_size=shard_size, micro_batch=micro_batch)
            record: Any = None
            maker: Any = None
            restrike = Restrike(plan, record, maker, count=1000, seed=0, timeout_s=1, patience_s=1)
            pieces = restrike.draw(range(plan.shards))
            assert [index for piece in pieces for index in piece.indices] == list(range(23))
            assert all(set(piece.indices) <= set(plan.span(piece.shard)) for piece in pieces)
            assert all(np.ptp([index // micro_batch for index in piece.indices]) == 0 for piece in pieces)
