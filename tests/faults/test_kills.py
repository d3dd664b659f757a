"""A worker dies, in every way that one can, in the middle of a shard."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from mintage.v1 import jobs_pb2

from tests.faults.engine import Engine, begin_and_hold, undisturbed, wait_until
from tests.faults.outputs import files, pictures, samples
from tests.support.formula import made_images

pytestmark = pytest.mark.e2e
Shard = jobs_pb2.Shard


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_job_is_made_exactly(engine: Engine) -> None:
    engine.start_all(workers=2)
    job = engine.wait_for(engine.sample(23, 5, seed=9).name)
    assert samples(job) == list(range(23))
    assert job.progress.attempts == job.progress.shards_done == 5
    assert (pictures(job) == made_images(9, range(23))).all()


def test_a_killed_worker_costs_one_lease_and_nothing_else(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    engine.kill(worker)
    engine.models.pass_gate.set()
    engine.start("worker")
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(40)) and job.progress.attempts == 3
    assert files(job) == undisturbed(engine)


def test_the_death_of_a_pool_process_alone_costs_one_lease_too(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    runner = next(child for child in children(worker) if "spawn_main" in " ".join(child.cmdline()))
    os.kill(runner.pid, signal.SIGKILL)
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(40)) and job.progress.attempts == 3
    assert worker.poll() is None


def test_the_death_of_the_parent_alone_leaves_no_orphan(engine: Engine) -> None:
    worker = engine.start_all()[0]
    begin_and_hold(engine)
    orphans = children(worker)
    worker.kill()
    worker.wait()
    wait_until(lambda: not any(child.is_running() for child in orphans), "the end of the orphans")


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_hands_the_lease_back_at_once(engine: Engine, whole_group: bool) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    (os.killpg if whole_group else os.kill)(worker.pid, signal.SIGTERM)
    wait_until(lambda: engine.job(job.name).progress.shards_running == 0, "the lease handed back")
    assert worker.wait(60) == 0
    shard = engine.shards(job.name)[0]
    assert (shard.state, shard.attempt, shard.error) == (Shard.STATE_READY, 1, "")
    assert not list(Path(job.output_uri).glob(".tmp/*"))
    engine.models.pass_gate.set()
    engine.start("worker")
    assert samples(engine.wait_for(job.name)) == list(range(40))


def test_a_frozen_worker_that_wakes_up_again_changes_nothing(engine: Engine) -> None:
    worker = engine.start_all()[0]
    job = begin_and_hold(engine)
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        engine.models.pass_gate.set()
        engine.start("worker")
        job = engine.wait_for(job.name)
        before = {path: path.read_bytes() for path in Path(job.output_uri).rglob("*") if path.is_file()}
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    again = engine.sample(8, 4)
    engine.wait_for(again.name)
    log = engine.logs / f"worker-{engine.processes.index(worker)}.log"
    wait_until(lambda: "fenced" in log.read_text(), "the woken worker to find itself fenced")
    assert {path: path.read_bytes() for path in Path(job.output_uri).rglob("*") if path.is_file()} == before
    assert engine.job(job.name) == job


def test_a_shard_that_kills_every_worker_fails_and_the_job_says_so(engine: Engine) -> None:
    engine.start_all()
    for attempt in (1, 2, 3):
        engine.crash("after_claim", shard=0, attempt=attempt)
    job = engine.wait_for(engine.sample(8, 4).name, jobs_pb2.Job.STATE_PARTIALLY_SUCCEEDED)
    assert "LEASE_LOST" in job.error and job.progress.attempts == 4
    assert samples(job) == list(range(4, 8)) and not engine.crashes()


def test_a_dispatcher_that_dies_is_replaced_by_another(engine: Engine) -> None:
    engine.start_all()
    engine.start("dispatcher")
    engine.models.pass_gate.clear()
    job = engine.sample(10, 5)
    engine.kill(engine.processes[0])
    engine.models.pass_gate.set()
    assert samples(engine.wait_for(job.name)) == list(range(10))
