"""Cancelling, limits of speed, a model that fails and a disk that is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from mintage.v1 import jobs_pb2

from service.errors import ResourceExhausted
from tests.faults.engine import Engine, running_engine, wait_until
from tests.faults.outputs import files, samples
from tests.support.model_server import FakeTorchServe, running_model_server
from tests.support.valkey import Valkey

pytestmark = pytest.mark.e2e
State = jobs_pb2.Job.State


def test_a_running_job_is_cancelled_within_a_micro_batch(engine: Engine) -> None:
    engine.start_all()
    engine.models.pass_gate.clear()
    engine.models.open_for = 3
    job = engine.sample(100_000, 1000)
    wait_until(lambda: engine.job(job.name).progress.images_done > 0, "the first images")
    engine.cancel(job.name)
    job = engine.wait_for(job.name, State.STATE_CANCELLED)  # while the model does not answer
    asked = len(engine.models.requests)
    engine.models.pass_gate.set()
    engine.wait_for(engine.sample(4, 4).name)
    assert len(engine.models.requests) <= asked + 2  # that of the second job
    assert not list(Path(job.output_uri).glob(".tmp/*")) and not list(Path(job.output_uri).glob("data/*"))


def test_a_queued_job_is_cancelled_without_any_worker(engine: Engine) -> None:
    engine.start("dispatcher")
    job = engine.sample(10, 5)
    engine.cancel(job.name)
    assert engine.wait_for(job.name, State.STATE_CANCELLED).progress.attempts == 0


def test_a_bound_on_speed_holds_over_all_workers(engine: Engine) -> None:
    engine.start_all(workers=2)
    job = engine.wait_for(engine.sample(60, 10, max_images_per_second=20).name)
    taken_s = (job.end_time.ToNanoseconds() - job.start_time.ToNanoseconds()) / 1e9
    assert taken_s >= 60 / 20 - 2 * 4 / 20 - 0.5


def test_a_model_that_is_away_for_a_while_costs_no_attempt(engine: Engine) -> None:
    engine.start_all()
    engine.models.failures = [grpc.StatusCode.UNAVAILABLE] * 3
    job = engine.wait_for(engine.sample(10, 5).name)
    assert job.progress.attempts == 2


def test_a_score_follows_a_sample_job(engine: Engine) -> None:
    engine.start_all()
    source = engine.wait_for(engine.sample(50, 8).name)
    job = engine.wait_for(engine.score(source.name, splits=5).name)
    score = job.classifier_score
    assert (score.images, score.splits, sum(score.class_counts)) == (50, 5, 50)
    assert 1 <= score.mean <= 3 and 0 < score.mean_generated_probability < 1
    again = engine.wait_for(engine.score(source.name, splits=5).name)
    assert again.classifier_score == score and again.root_digest == job.root_digest


def test_a_source_that_was_changed_is_not_scored(engine: Engine) -> None:
    engine.start_all()
    source = engine.wait_for(engine.sample(10, 5).name)
    shard = Path(source.output_uri) / "data/train-00001-of-00002.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    job = engine.wait_for(engine.score(source.name).name, State.STATE_FAILED)
    assert "OUTPUT_DAMAGED" in job.error and "train-00001-of-00002.tar was changed" in job.error


def test_an_expired_job_is_deleted_also_by_another_dispatcher_if_the_first_one_dies(engine: Engine) -> None:
    engine.crash("mid_delete")
    dispatcher = engine.start("dispatcher")
    engine.start("worker")
    engine.wait_for_workers(1)
    kept = engine.sample(10, 5)
    job = engine.sample(10, 5, ttl=Duration(seconds=1))
    folder = Path(job.output_uri)
    wait_until(lambda: dispatcher.poll() is not None, "the crash")
    assert folder.exists() and not (folder / "plan.json").exists()
    assert engine.job(job.name).state == State.STATE_DELETING
    engine.start("dispatcher")
    wait_until(lambda: not folder.exists(), "the end of the deletion")
    assert samples(engine.wait_for(kept.name)) == list(range(10))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine allows no mounts")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def cramped(tmp_path: Path, valkey: Valkey, small_disk: Path) -> Iterator[Engine]:
    """An engine that writes to the small disk images of 3 KB."""
    with (
        running_model_server(shape=(32, 32, 3)) as models,
        running_engine(tmp_path / "state", valkey, models, output_dir=str(small_disk), space_pause_s="1") as engine,
    ):
        yield engine


def test_a_full_disk_fails_the_job_and_leaves_nothing(cramped: Engine, small_disk: Path) -> None:
    worker = cramped.start_all()[0]
    job = cramped.wait_for(cramped.sample(2000, 2000).name, State.STATE_FAILED)
    assert "NO_SPACE" in job.error and worker.poll() is None
    assert not list(small_disk.rglob(".tmp/*")) and not list(small_disk.rglob("*.tar"))
    small = cramped.wait_for(cramped.sample(10, 5).name)
    assert samples(small) == list(range(10))


def test_a_job_goes_on_when_a_full_disk_has_space_again(cramped: Engine, small_disk: Path) -> None:
    cramped.start_all()
    calm = files(cramped.wait_for(cramped.sample(60, 60).name))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - (64 << 10)))
    failed = cramped.wait_for(cramped.sample(60, 60).name, State.STATE_FAILED)
    assert "NO_SPACE" in failed.error and not files(failed)
    waiting = cramped.sample(60, 60)
    wait_until(lambda: "NO_SPACE" in cramped.shards(waiting.name)[0].error, "the first attempt")
    ballast.unlink()
    assert files(cramped.wait_for(waiting.name)) == calm
    cramped.retry(failed.name)
    assert files(cramped.wait_for(failed.name)) == calm


def test_a_full_disk_keeps_nobody_from_pausing_and_the_pause_is_recorded_later(
    cramped: Engine, small_disk: Path, valkey: Valkey
) -> None:
    cramped.start("dispatcher")
    job = cramped.sample(60, 60)
    intent = Path(job.output_uri) / "intent"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    answer = cramped.call(lambda api: api.PauseJob(jobs_pb2.PauseJobRequest(name=job.name), None))
    assert (answer.job.state, answer.durable) == (State.STATE_PAUSED, False) and not intent.exists()
    with pytest.raises(ResourceExhausted) as caught:
        cramped.resume(job.name)
    assert caught.value.reason == "NO_SPACE" and cramped.job(job.name).state == State.STATE_PAUSED
    ballast.unlink()
    wait_until(intent.exists, "the dispatcher's note")
    client = valkey.client()
    client.flushall()
    client.close()
    wait_until(lambda: cramped.knows(job.name), "the job's return")
    assert cramped.job(job.name).state == State.STATE_PAUSED
    cramped.resume(job.name)
    cramped.start_all()
    assert samples(cramped.wait_for(job.name)) == list(range(60))


def test_an_idle_engine_uses_almost_no_cpu(engine: Engine, models: FakeTorchServe) -> None:
    import psutil

    engine.start_all()
    engine.wait_for(engine.sample(4, 4).name)
    processes = [psutil.Process(process.pid) for process in engine.processes]
    processes += [child for process in processes for child in process.children(recursive=True)]

    def cpu_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    def is_idle_for_five_seconds() -> bool:
        before, begin = cpu_s(), time.monotonic()
        wait_until(lambda: time.monotonic() > begin + 5, "five seconds of nothing")
        return cpu_s() - before < 0.25

    wait_until(is_idle_for_five_seconds, "what it had to do is done")
