"""Writes that storage refuses: jobs say why, wait for a bounded time, can be cancelled, go on once it is put right."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from tests.faults.engine import Engine, begin_and_hold, running_engine, wait_until
from tests.support.model_server import FakeTorchServe
from tests.support.s3 import S3Server
from tests.support.valkey import Valkey

pytestmark = pytest.mark.e2e
State = jobs_pb2.Job.State
FORMATS = (
    jobs_pb2.OUTPUT_FORMAT_WEBDATASET,
    jobs_pb2.OUTPUT_FORMAT_PNG,
    jobs_pb2.OUTPUT_FORMAT_PARQUET,
    jobs_pb2.OUTPUT_FORMAT_NPZ,
)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where jobs write: its settings, how it begins and ends to refuse writes, what is said then and what to do."""

    settings: dict[str, str]
    refuse: Callable[[bool], None]
    said: str
    remedy: str


@pytest.fixture(params=["bucket", "folder"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A bucket that may answer 403, or a folder of a disk that may be read-only."""
    if request.param == "bucket":
        s3: S3Server = request.getfixturevalue("s3")

        def refuse(refuses: bool) -> None:
            s3.faults.method, s3.faults.refused_status = "PUT", 403 if refuses else 0

        yield Storage(s3.settings("base"), refuse, "refuses access to the bucket mint (AccessDenied)", "must allow")
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root may mount a disk, and not everywhere")

    def remount(refuses: bool) -> None:
        command = ["mount", "-o", f"remount,{'ro' if refuses else 'rw'}", str(disk)]
        wait_until(lambda: subprocess.run(command, check=False).returncode == 0, "the disk to be at rest")

    yield Storage({"output_dir": str(disk)}, remount, "Read-only file system", "MINTAGE_OUTPUT_DIR")
    subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def refusing(tmp_path: Path, valkey: Valkey, models: FakeTorchServe, storage: Storage, wait_s: str) -> Iterator[Engine]:
    """Have an engine whose storage refuses all writes since a job was accepted."""
    pauses = {"space_pause_s": "0.1", "storage_wait_s": wait_s}
    with running_engine(tmp_path / "state", valkey, models, **storage.settings, **pauses) as engine:
        engine.start("dispatcher")
        yield engine


def test_every_format_is_told_of_refused_writes_and_goes_on_once_they_are_taken(
    tmp_path: Path, valkey: Valkey, models: FakeTorchServe, storage: Storage
) -> None:
    with refusing(tmp_path, valkey, models, storage, "3") as engine:
        worker = engine.start("worker")
        source = engine.wait_for(engine.sample(40, 20).name)
        engine.kill(worker)
        begun = [*(engine.sample(40, 20, format=each) for each in FORMATS), engine.score(source.name)]
        storage.refuse(True)
        engine.start("worker")
        for job in begun:
            failed = engine.wait_for(job.name, State.STATE_FAILED)
            assert storage.said in failed.error and "no manifest could be written" in failed.error
        storage.refuse(False)
        for job in begun:
            engine.retry(job.name)
        for job in begun:
            engine.wait_for(job.name)
            assert engine.verify(job.name)[-1].verdict.sound


def test_refused_writes_are_told_and_fail_the_job_after_a_while(
    tmp_path: Path, valkey: Valkey, models: FakeTorchServe, storage: Storage
) -> None:
    with refusing(tmp_path, valkey, models, storage, "3") as engine:
        name = engine.sample(40, 20).name
        storage.refuse(True)
        engine.start("worker")
        waiting = wait_until(lambda: job if (job := engine.job(name)).wait_reason else None, "the reason")
        assert storage.said in waiting.wait_reason and storage.remedy in waiting.wait_reason
        with contextlib.closing(valkey.client()) as client:
            wait_until(lambda: storage.said in (client.get("mintage:storage") or ""), "the dispatcher's note")
            failed = engine.wait_for(name, State.STATE_FAILED)
            assert storage.said in failed.error and "no manifest could be written" in failed.error
            assert not failed.wait_reason
            storage.refuse(False)
            wait_until(lambda: client.get("mintage:storage") is None, "the end of the dispatcher's note")
        engine.retry(name)
        job = engine.wait_for(name)
        assert job.root_digest == engine.wait_for(engine.sample(40, 20).name).root_digest
        assert engine.verify(name)[-1].verdict.sound


def test_a_job_whose_end_is_refused_can_be_cancelled(
    tmp_path: Path, valkey: Valkey, models: FakeTorchServe, storage: Storage
) -> None:
    with refusing(tmp_path, valkey, models, storage, "600") as engine:
        name = engine.sample(20, 20).name
        storage.refuse(True)
        engine.start("worker")
        wait_until(
            lambda: (job := engine.job(name)).state == State.STATE_FINALIZING and storage.said in job.wait_reason,
            "a job that waits for its end",
        )
        engine.cancel(name)
        cancelled = engine.wait_for(name, State.STATE_CANCELLED)
        assert storage.said in cancelled.error and "no manifest was written" in cancelled.error


def test_a_job_whose_end_was_refused_ends_well_once_storage_takes_it(
    tmp_path: Path, valkey: Valkey, models: FakeTorchServe, storage: Storage
) -> None:
    with refusing(tmp_path, valkey, models, storage, "600") as engine:
        engine.start("worker")
        job = begin_and_hold(engine, 20, 20)
        engine.kill(engine.processes[0])
        models.pass_gate.set()
        wait_until(lambda: engine.job(job.name).state == State.STATE_FINALIZING, "the last shard")
        storage.refuse(True)
        engine.start("dispatcher")
        wait_until(lambda: storage.said in engine.job(job.name).wait_reason, "the reason")
        storage.refuse(False)
        assert not engine.wait_for(job.name).wait_reason
