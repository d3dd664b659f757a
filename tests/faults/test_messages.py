"""The broker loses, doubles and garbles messages, and Redis itself dies."""

from __future__ import annotations

import contextlib
import functools
import secrets
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.jobs.messages.app import QUEUE, QUEUE_KEY, TASK, celery_app
from tests.faults.engine import Engine, running_engine, wait_until
from tests.faults.outputs import files, samples
from tests.support.model_server import FakeTorchServe
from tests.support.valkey import Valkey, running_valkey

pytestmark = pytest.mark.e2e


def test_hints_that_are_lost_are_sent_again(engine: Engine, valkey: Valkey) -> None:
    engine.start_all()
    engine.models.pass_gate.clear()
    job = engine.sample(30, 5)
    with contextlib.closing(valkey.client()) as client:
        wait_until(lambda: client.llen(QUEUE_KEY) >= 1, "hints in the queue")
        client.delete(QUEUE_KEY)
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(30)) and job.progress.attempts == 6


def test_hints_that_are_doubled_do_nothing(engine: Engine) -> None:
    engine.start_all(workers=2)
    engine.models.pass_gate.clear()
    job = engine.sample(30, 5)
    app = celery_app(engine.settings)
    for shard in list(range(6)) * 3:
        app.send_task(TASK, args=[job.name[5:], shard])
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(30)) and job.progress.attempts == 6
    app.close()


@pytest.mark.parametrize("fault", ["double", "drop", "reorder"])
def test_a_whole_job_whose_every_hint_is_doubled_or_dropped_or_out_of_order(engine: Engine, fault: str) -> None:
    seed = secrets.randbits(32)
    print(f"{fault}, seed {seed}")
    variables = {"MINTAGE_TEST_HINTS": fault, "MINTAGE_TEST_SEED": str(seed)}
    unreliable = engine.start("dispatcher", module="tests.faults.unreliable", **variables)
    for _ in range(2):
        engine.start("worker", MINTAGE_WORKER_PROCESSES="2")
    engine.wait_for_workers(2)
    job = engine.wait_for(engine.sample(60, 5).name)
    assert samples(job) == list(range(60)) and job.progress.attempts == 12
    engine.kill(unreliable)
    engine.start("dispatcher")
    assert files(job) == files(engine.wait_for(engine.sample(60, 5).name))


def test_a_queue_that_is_deleted_again_and_again_loses_nothing(engine: Engine, valkey: Valkey) -> None:
    engine.start_all(workers=2)
    job = engine.sample(60, 5)
    with contextlib.closing(valkey.client()) as client:
        for done in (1, 5, 8):
            wait_until(functools.partial(reached, engine, job.name, done), f"{done} shards")
            client.delete(QUEUE_KEY)
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(60)) and job.progress.attempts == 12


def reached(engine: Engine, name: str, shards: int) -> bool:
    """Whether a job has so many finished shards."""
    return engine.job(name).progress.shards_done >= shards


def test_hints_of_nobody_are_refused_and_the_worker_goes_on(engine: Engine) -> None:
    worker = engine.start_all()[0]
    app = celery_app(engine.settings)
    for args in (["nosuchjob", 0], ["x", -1], [7, "y"], [None, None], [], ["a", 1, 2]):
        app.send_task(TASK, args=args)
    app.send_task("os.system", args=["true"], queue=QUEUE)
    app.close()
    job = engine.wait_for(engine.sample(10, 5).name)
    assert samples(job) == list(range(10)) and worker.poll() is None


def test_garbage_in_the_queue_costs_a_restart_of_the_worker_and_nothing_else(engine: Engine, valkey: Valkey) -> None:
    worker = engine.start_all()[0]
    with contextlib.closing(valkey.client()) as client:
        client.lpush(QUEUE_KEY, "not JSON")
        wait_until(lambda: worker.poll() is not None, "the end of the worker")
    engine.start("worker")
    job = engine.wait_for(engine.sample(10, 5).name)
    assert samples(job) == list(range(10))


def test_a_redis_that_is_killed_and_comes_back_loses_no_job(tmp_path: Path, models: FakeTorchServe) -> None:
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        running_engine(tmp_path / "state", valkey, models) as engine,
    ):
        engine.start_all(workers=2)
        models.pass_gate.clear()
        job = engine.sample(40, 5)
        wait_until(lambda: models.requests, "a worker at work")
        valkey.kill()
        models.pass_gate.set()
        valkey.start()
        job = engine.wait_for(job.name)
        assert samples(job) == list(range(40))


def test_a_redis_that_forgot_everything_is_told_again_by_the_plans(tmp_path: Path, models: FakeTorchServe) -> None:
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        running_engine(tmp_path / "state", valkey, models) as engine,
    ):
        engine.start_all()
        ended = engine.wait_for(engine.sample(10, 5, request_id="one").name)
        models.pass_gate.clear()
        stopped = engine.sample(10, 5)
        engine.cancel(stopped.name)
        engine.wait_for(stopped.name, jobs_pb2.Job.STATE_CANCELLED)
        models.open_for = 6
        running = engine.sample(40, 5)
        wait_until(lambda: engine.job(running.name).progress.shards_done >= 1, "a finished shard")
        valkey.kill()
        for file in (tmp_path / "valkey").rglob("*.aof"):
            file.unlink()
        for file in (tmp_path / "valkey").rglob("*.manifest"):
            file.unlink()
        models.pass_gate.set()
        valkey.start()
        job = wait_until_known(engine, running.name)
        assert samples(engine.wait_for(job.name)) == list(range(40))
        again = engine.job(ended.name)
        assert (again.state, again.root_digest) == (ended.state, ended.root_digest)
        assert engine.shards(ended.name)[0].digest
        assert engine.job(stopped.name).state == jobs_pb2.Job.STATE_CANCELLED
        assert engine.sample(10, 5, request_id="one").name == ended.name


def test_a_redis_that_is_emptied_while_it_runs_is_told_again_at_once(engine: Engine) -> None:
    engine.start_all()
    ended = engine.wait_for(engine.sample(10, 5).name)
    engine.models.pass_gate.clear()
    engine.models.open_for = 6
    running = engine.sample(40, 5)
    wait_until(lambda: engine.job(running.name).progress.shards_done >= 1, "a finished shard")
    paused = engine.sample(10, 5)
    engine.pause(paused.name)
    with contextlib.closing(engine.valkey.client()) as client:
        client.flushall()
    engine.models.pass_gate.set()
    job = wait_until_known(engine, running.name)
    assert samples(engine.wait_for(job.name)) == list(range(40))
    again = wait_until_known(engine, ended.name)
    assert (again.state, again.root_digest) == (ended.state, ended.root_digest) and again.HasField("end_time")
    assert wait_until_known(engine, paused.name).state == jobs_pb2.Job.STATE_PAUSED
    engine.resume(paused.name)
    engine.wait_for(paused.name)


def wait_until_known(engine: Engine, name: str) -> jobs_pb2.Job:
    """Wait until the ledger knows a job again."""
    from service.errors import NotFound, Unavailable

    def known() -> jobs_pb2.Job | None:
        with contextlib.suppress(NotFound, Unavailable):
            return engine.job(name)
        return None

    job: jobs_pb2.Job = wait_until(known, f"the ledger to know {name}")
    return job
