"""Jobs are paused, resumed and retried while processes die."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2
from mintage.v1.verification_pb2 import Finding

from service.errors import FailedPrecondition, NotFound
from tests.faults.engine import Engine, begin_and_hold, undisturbed, wait_until
from tests.faults.outputs import files, samples

pytestmark = pytest.mark.e2e
State = jobs_pb2.Job.State


def leases(engine: Engine, name: str) -> int:
    return engine.job(name).progress.shards_running


def test_a_paused_job_gives_its_shards_back_and_a_killed_worker_changes_nothing(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    engine.pause(job.name)
    wait_until(lambda: leases(engine, job.name) == 0, "the shard handed back")
    assert engine.job(job.name).state == State.STATE_PAUSED
    assert not list(Path(job.output_uri).glob(".tmp/*")) and not list(Path(job.output_uri).glob("data/*"))
    engine.kill(worker)
    engine.models.pass_gate.set()
    engine.start("worker")
    engine.wait_for(engine.sample(8, 4).name)  # the new worker works, but not on the paused job
    assert engine.job(job.name).state == State.STATE_PAUSED and not samples(job)
    engine.resume(job.name)
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(40)) and job.progress.shards_failed == 0
    assert files(job) == undisturbed(engine)


def test_a_worker_killed_while_its_job_is_paused_costs_one_lease_and_nothing_else(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    engine.kill(worker)
    engine.pause(job.name)
    wait_until(lambda: leases(engine, job.name) == 0, "the lease to run out")
    assert engine.job(job.name).state == State.STATE_PAUSED
    engine.models.pass_gate.set()
    engine.start("worker")
    engine.resume(job.name)
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(40)) and job.progress.attempts == 3
    assert files(job) == undisturbed(engine)


def test_failed_shards_are_retried_and_the_others_left_alone(engine: Engine) -> None:
    engine.start_all()
    engine.models.poison = range(20, 40)
    job = engine.wait_for(engine.sample(40, 20).name, State.STATE_PARTIALLY_SUCCEEDED)
    assert job.progress.shards_failed == 1 and samples(job) == list(range(20))
    engine.models.poison = range(0)
    good = {path: path.stat().st_mtime_ns for path in Path(job.output_uri).glob("data/*")}
    engine.models.requests.clear()
    engine.retry(job.name)
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(40)) and job.error == ""
    assert {asked["first_index"] in range(20, 40) for asked in engine.models.requests} == {True}
    assert {path: path.stat().st_mtime_ns for path in good} == good
    manifest = json.loads((Path(job.output_uri) / "manifest.json").read_bytes())
    assert (manifest["state"], manifest["round"], len(manifest["shards"])) == ("SUCCEEDED", 1, 2)
    assert manifest["root_digest"] == job.root_digest
    assert engine.read_shard(job.name, 1) == files(job)["data/train-00001-of-00002.tar"]
    assert files(job) == undisturbed(engine)


def test_a_job_with_too_many_failed_shards_gives_up_and_can_be_taken_up_again(engine: Engine) -> None:
    engine.start_all(workers=2, MINTAGE_MAX_ATTEMPTS="1")
    engine.models.pass_gate.clear()
    engine.models.open_for = 8
    engine.models.poison = range(20, 40)
    job = engine.sample(400, 20, max_failed_shards=1)
    wait_until(lambda: is_held_after_one_failure(engine, job.name), "both workers in the middle of a shard")
    engine.models.poison = range(400)  # what is asked for from now on fails; the answers held back are good
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name, State.STATE_FAILED)
    progress = job.progress
    failed = progress.shards_failed  # 2, or 3 if both workers failed at the same moment
    assert failed in (2, 3)
    why = rf"TOO_MANY_FAILED_SHARDS: {failed} of 20 shards failed, at most 1 may; shard \d+: MODEL_FAILED: "
    assert re.match(why, job.error)
    assert progress.shards_running == 0 and 1 <= progress.shards_done < 18
    assert len(files(job)) == progress.shards_done
    engine.models.poison = range(0)
    engine.retry(job.name)
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(400)) and files(job) == undisturbed(engine, 400)


def is_held_after_one_failure(engine: Engine, name: str) -> bool:
    """Whether a shard has failed, one at least is done, and two wait for answers that are held back."""
    progress = engine.job(name).progress
    shards = progress.shards_failed, progress.shards_running
    return engine.models.open_for == 0 and progress.shards_done >= 1 and shards == (1, 2)


def test_a_frozen_worker_that_wakes_up_brings_no_deleted_job_back(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        engine.delete(job.name, force=True)
        assert not Path(job.output_uri).exists()
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    engine.models.pass_gate.set()
    engine.wait_for(engine.sample(8, 4).name)
    log = engine.logs / f"worker-{engine.processes.index(worker)}.log"
    wait_until(lambda: "fenced" in log.read_text(), "the woken worker to find itself fenced")
    assert not Path(job.output_uri).exists()
    with pytest.raises(NotFound):
        engine.job(job.name)


def test_a_job_of_killed_workers_is_verified_and_what_was_changed_is_found(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    with pytest.raises(FailedPrecondition, match="only a finished job"):
        engine.verify(job.name)
    engine.kill(worker)
    engine.models.pass_gate.set()
    engine.start("worker")
    job = engine.wait_for(job.name)
    verdict = engine.verify(job.name, recompute=5, seed=1)[-1].verdict
    assert verdict.sound and verdict.root_digest == job.root_digest
    assert (verdict.progress.shards_checked, verdict.progress.samples_recomputed) == (2, 5)
    shard = Path(job.output_uri) / "data/train-00001-of-00002.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    found = [part.finding for part in engine.verify(job.name) if part.WhichOneof("part") == "finding"]
    assert [(each.kind, each.shard) for each in found] == [(Finding.KIND_WRONG_DIGEST, 1)]
    engine.models.device = "cuda-sm90"
    with pytest.raises(FailedPrecondition, match="now runs on cuda-sm90"):
        engine.verify(job.name, recompute=1)
