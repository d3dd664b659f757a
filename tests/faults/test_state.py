"""Damage to what is kept of jobs: Valkey's files and a job's plan. Jobs come back with all that was done, and go on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.processes import append_only_file
from tests.faults.engine import Engine, begin_and_hold, running_engine, wait_until
from tests.faults.outputs import samples
from tests.support.model_server import FakeTorchServe
from tests.support.valkey import Valkey, running_valkey

pytestmark = pytest.mark.e2e
State = jobs_pb2.Job.State


def commands(folder: Path) -> Path:
    return next((folder / append_only_file.FOLDER).glob("*.incr.aof"))


def zeros_at_the_end(folder: Path) -> None:
    with commands(folder).open("ab") as file:
        file.write(b"\0" * 4096)


def junk_in_the_middle(folder: Path) -> None:
    content = bytearray(commands(folder).read_bytes())
    begin = content.rindex(b"\r\n*", 0, len(content) // 2) + 2
    content[begin : begin + 100] = b"\0" * 100
    commands(folder).write_bytes(content)


def all_empty(folder: Path) -> None:
    for path in (folder / append_only_file.FOLDER).iterdir():
        path.write_bytes(b"")


def folder_removed(folder: Path) -> None:
    shutil.rmtree(folder / append_only_file.FOLDER)


def start_mended(valkey: Valkey) -> None:
    """Start it as a stack does."""
    for mend in (append_only_file.cut, append_only_file.set_aside):
        with contextlib.suppress(AssertionError):
            return valkey.start()
        mend(valkey.folder)
    valkey.start()


@pytest.mark.parametrize("harm", [zeros_at_the_end, junk_in_the_middle, all_empty, folder_removed])
def test_jobs_outlive_a_damaged_append_only_file(
    tmp_path: Path, models: FakeTorchServe, harm: Callable[[Path], None]
) -> None:
    with running_valkey(tmp_path / "valkey") as valkey, running_engine(tmp_path / "state", valkey, models) as engine:
        engine.start_all()
        ended = engine.wait_for(engine.sample(10, 5).name)
        models.pass_gate.clear()
        models.open_for = 3
        name = engine.sample(40, 5).name
        before = wait_until(lambda: job if (job := engine.job(name)).progress.shards_done >= 2 else None, "two shards")
        valkey.kill()
        harm(valkey.folder)
        start_mended(valkey)
        after = engine.seen_first(name)
        assert after.state == State.STATE_RUNNING and engine.seen_first(ended.name).root_digest == ended.root_digest
        assert after.progress.images_committed >= before.progress.images_committed
        assert after.progress.shards_done >= before.progress.shards_done
        assert after.progress.bytes_committed >= before.progress.bytes_committed
        models.pass_gate.set()
        assert engine.wait_for(ended.name).root_digest == ended.root_digest
        assert samples(engine.wait_for(name)) == list(range(40))
        assert engine.verify(name)[-1].verdict.sound


def test_a_job_with_a_damaged_plan_is_listed_and_goes_on_once_it_is_mended(engine: Engine) -> None:
    engine.start_all()
    job = begin_and_hold(engine)
    plan = Path(job.output_uri) / "plan.json"
    sound = plan.read_bytes()
    plan.write_bytes(sound[:200])
    with contextlib.closing(engine.valkey.client()) as client:
        client.flushall()
    engine.models.pass_gate.set()
    wait_until(lambda: engine.knows(job.name), "the job to be listed")
    found = engine.job(job.name)
    assert found.state == State.STATE_UNREADABLE and "PLAN_UNREADABLE" in found.error
    plan.write_bytes(sound)
    wait_until(lambda: engine.job(job.name).state != State.STATE_UNREADABLE, "the mended plan to be found")
    assert samples(engine.wait_for(job.name)) == list(range(40))
