"""Workers whose clocks are two hours off, in both directions: leases and hints know Redis's clock alone.

libfaketime is not needed: `clock/sitecustomize.py` shifts what Python, and so Celery, takes for the time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.engine import Engine, wait_until
from tests.faults.outputs import files, samples
from tests.support.valkey import environment

pytestmark = pytest.mark.e2e

HOURS_S = 2 * 3600


def off_by(seconds: int) -> dict[str, str]:
    """The variables that shift a Python process's clock, and its children's."""
    path = environment().get("PYTHONPATH", "")
    return {"MINTAGE_TEST_CLOCK_S": str(seconds), "PYTHONPATH": f"{Path(__file__).parent / 'clock'}:{path}"}


@pytest.mark.parametrize("seconds", [HOURS_S, -HOURS_S])
def test_the_clock_is_off(seconds: int) -> None:
    program = "import time, datetime; print(time.time(), time.time_ns() / 1e9, datetime.datetime.now().timestamp())"
    shown = subprocess.check_output([sys.executable, "-c", program], env=environment(**off_by(seconds)), text=True)
    assert all(abs(float(each) - time.time() - seconds) < 60 for each in shown.split())


def test_workers_whose_clocks_are_two_hours_off_lease_nothing_twice_and_lose_nothing(engine: Engine) -> None:
    engine.models.pass_gate.clear()
    engine.models.open_for = 2
    engine.start("dispatcher")
    for seconds in (HOURS_S, -HOURS_S, 0):
        engine.start("worker", **off_by(seconds))
    engine.wait_for_workers(3)
    job = engine.sample(60, 10)
    wait_until(lambda: engine.job(job.name).progress.shards_running == 3, "all three at work")
    held_s = time.monotonic() + 2 * engine.settings.lease_s
    wait_until(lambda: time.monotonic() > held_s, "two leases' time")
    assert engine.job(job.name).progress.attempts == 3
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name)
    assert job.progress.attempts == 6 and samples(job) == list(range(60))
    assert {shard.worker for shard in engine.shards(job.name)} == {"worker-1", "worker-2", "worker-3"}
    engine.stop()
    engine.start_all()
    assert files(job) == files(engine.wait_for(engine.sample(60, 10).name))


def test_a_worker_that_dies_with_a_wrong_clock_costs_one_lease_and_nothing_else(engine: Engine) -> None:
    engine.start("dispatcher")
    worker = engine.start("worker", **off_by(HOURS_S))
    engine.wait_for_workers(1)
    engine.models.pass_gate.clear()
    job = engine.sample(20, 10)
    wait_until(lambda: engine.job(job.name).progress.shards_running == 1, "a worker at work")
    engine.kill(worker)
    engine.models.pass_gate.set()
    engine.start("worker", **off_by(-HOURS_S))
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(20)) and job.progress.attempts == 3
