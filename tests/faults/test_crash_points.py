"""The process dies between any two steps of accepting a job, of making a shard, or of signing a job off."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mintage.retries import Retries
from mintage.v1 import jobs_pb2

from service.jobs.dispatch.contact_sheet import CONTACT_SHEET
from tests.faults.engine import POINTS, Engine, wait_until
from tests.faults.outputs import files, samples

pytestmark = pytest.mark.e2e

MAKING = ("after_claim", "mid_shard", "after_fsync", "after_publish")  # until then no marker vouches for a file
ADOPTING = ("after_claim", "before_commit")


def reached(first: str, second: str) -> bool:
    """Whether an attempt comes to its point `second`, after one that died at `first`."""
    return first in MAKING or second in ADOPTING


@pytest.mark.timeout(600)
def test_every_shard_survives_a_crash_at_every_point_of_two_attempts(engine: Engine) -> None:
    pairs = [pair for pair in itertools.product(POINTS, POINTS) if reached(*pair)]
    workers = engine.start_all(workers=2, MINTAGE_WORKER_PROCESSES="2")
    for shard, pair in enumerate(pairs):
        for attempt, point in enumerate(pair, start=1):
            engine.crash(point, shard=shard, attempt=attempt)
    count = 4 * len(pairs)
    job = engine.wait_for(engine.sample(count, 4).name, timeout_s=480)
    assert engine.crashes() == [] and all(worker.poll() is None for worker in workers)
    assert samples(job) == list(range(count))
    assert job.progress.attempts == 3 * len(pairs)
    calm = engine.wait_for(engine.sample(count, 4).name)
    assert files(job) == files(calm) and job.root_digest == calm.root_digest


def test_a_score_survives_a_crash_at_every_point(engine: Engine) -> None:
    engine.start_all(workers=2, MINTAGE_WORKER_PROCESSES="2")
    source = engine.wait_for(engine.sample(24, 4).name)
    for shard, point in enumerate(POINTS):
        engine.crash(point, shard=shard)
    job = engine.wait_for(engine.score(source.name).name)
    assert engine.crashes() == []
    assert job.classifier_score.images == 24 and job.progress.attempts == 12
    calm = engine.wait_for(engine.score(source.name).name)
    assert files(job) == files(calm) and job.root_digest == calm.root_digest
    assert calm.classifier_score == job.classifier_score


@pytest.mark.parametrize("layout", ["PNG", "PARQUET", "NPZ"])
def test_a_shard_of_any_format_survives_a_crash_at_every_point(engine: Engine, layout: str) -> None:
    engine.start_all(workers=2, MINTAGE_WORKER_PROCESSES="2")
    wanted = jobs_pb2.OutputFormat.Value(f"OUTPUT_FORMAT_{layout}")
    for shard, point in enumerate(POINTS):
        engine.crash(point, shard=shard)
    job = engine.wait_for(engine.sample(24, 4, format=wanted).name)
    assert engine.crashes() == []
    assert job.progress.attempts == 12
    calm = engine.wait_for(engine.sample(24, 4, format=wanted).name)
    tar = engine.wait_for(engine.sample(24, 4).name)
    assert files(job) == files(calm) and job.root_digest == calm.root_digest
    assert job.root_digest != tar.root_digest
    assert (Path(job.output_uri) / CONTACT_SHEET).read_bytes() == (Path(tar.output_uri) / CONTACT_SHEET).read_bytes()
    assert engine.verify(job.name, recompute=2)[-1].verdict.sound
    data = b"".join(engine.read_shard(job.name, shard) for shard in range(6))
    assert data == b"".join(engine.read_shard(calm.name, shard) for shard in range(6))


@pytest.mark.parametrize("point", ["before_manifest", "after_manifest"])
def test_signing_off_survives_a_crash(engine: Engine, point: str) -> None:
    dispatcher = engine.start("dispatcher")
    engine.start("worker")
    engine.wait_for_workers(1)
    engine.crash(point)
    job = engine.sample(12, 4)
    wait_until(lambda: dispatcher.poll() is not None, "the crash")
    engine.start("dispatcher")
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(12)) and files(job)


def test_a_request_whose_server_dies_at_any_step_is_one_job_when_it_is_made_again(engine: Engine) -> None:
    points = ("after_reserve", "after_plan", "after_create")
    api = engine.start_api()
    with engine.client(retries=Retries(attempts=50, max_pause_s=0.5)) as client, ThreadPoolExecutor(1) as caller:
        for point in points:
            engine.crash(point)
            asked = caller.submit(client.create_sample_job, "digits", 12, shard_size=4, request_id=point)
            api.wait(60)
            api = engine.start_api()
            assert client.create_sample_job("digits", 12, shard_size=4, request_id=point) == asked.result(60)
        assert engine.crashes() == []
        engine.start_all()
        jobs = list(client.jobs())
        plans = [json.loads(plan.read_bytes()) for plan in Path(engine.settings.outputs).rglob("plan.json")]
        assert sorted(plan["request_id"] for plan in plans) == sorted(points)
        assert {job.name for job in jobs} == {f"jobs/{plan['job']}" for plan in plans}
        for job in jobs:
            assert samples(engine.wait_for(job.name)) == list(range(12))
            assert not list(Path(job.output_uri).glob(".tmp/*"))
