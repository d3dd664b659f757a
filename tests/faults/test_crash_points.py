"""The process dies between any two steps of making a shard, or of signing a job off."""

from __future__ import annotations

from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.jobs.finalize import CONTACT_SHEET
from tests.faults.engine import Engine, files, samples, wait_until

pytestmark = pytest.mark.e2e
SHARD_POINTS = ["after_claim", "mid_shard", "after_fsync", "after_publish", "after_marker", "before_commit"]


def once(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that lets one process die, and the variable that names it."""
    file = tmp_path / "once"
    file.touch()
    return file, {"MINTAGE_CRASH_ONCE": str(file)}


@pytest.mark.parametrize("point", SHARD_POINTS)
@pytest.mark.parametrize("kind", ["sample", "score"])
def test_a_shard_survives_a_crash_anywhere(engine: Engine, tmp_path: Path, point: str, kind: str) -> None:
    file, variables = once(tmp_path)
    if kind == "score":
        file.unlink()
    engine.start_all(workers=1, MINTAGE_CRASH_AT=point, **variables)
    if kind == "score":
        source = engine.wait_for(engine.sample(12, 4).name)
        file.touch()
        job = engine.wait_for(engine.score(source.name).name)
        assert job.classifier_score.images == 12
    else:
        job = engine.wait_for(engine.sample(12, 4).name)
        assert samples(job) == list(range(12))
    assert not file.exists(), "nobody crashed"
    assert job.progress.attempts == 4
    calm = engine.wait_for((engine.score(source.name) if kind == "score" else engine.sample(12, 4)).name)
    assert files(job) == files(calm) and job.root_digest == calm.root_digest


@pytest.mark.parametrize("point", SHARD_POINTS)
def test_a_shard_of_any_format_survives_a_crash_anywhere(engine: Engine, tmp_path: Path, point: str) -> None:
    file, variables = once(tmp_path)
    file.unlink()
    engine.start_all(workers=1, MINTAGE_CRASH_AT=point, **variables)
    tar = engine.wait_for(engine.sample(6, 3).name)
    for layout in ("PNG", "PARQUET", "NPZ"):
        wanted = jobs_pb2.OutputFormat.Value(f"OUTPUT_FORMAT_{layout}")
        file.touch()
        job = engine.wait_for(engine.sample(6, 3, format=wanted).name)
        assert not file.exists(), "nobody crashed"
        assert job.progress.attempts == 3
        calm = engine.wait_for(engine.sample(6, 3, format=wanted).name)
        assert files(job) == files(calm) and job.root_digest == calm.root_digest
        assert (job.root_digest == tar.root_digest) == (layout == "PNG")
        assert (Path(job.output_uri) / CONTACT_SHEET).read_bytes() == (
            Path(tar.output_uri) / CONTACT_SHEET
        ).read_bytes()
        assert engine.verify(job.name, strike=2)[-1].verdict.sound
        data = b"".join(engine.read_shard(job.name, 0) for _ in range(2))
        assert data == 2 * engine.read_shard(calm.name, 0)


@pytest.mark.parametrize("point", ["before_manifest", "after_manifest"])
def test_signing_off_survives_a_crash(engine: Engine, tmp_path: Path, point: str) -> None:
    file, variables = once(tmp_path)
    dispatcher = engine.start("dispatcher", MINTAGE_CRASH_AT=point, **variables)
    engine.start("worker")
    engine.wait_for_workers(1)
    job = engine.sample(12, 4)
    wait_until(lambda: dispatcher.poll() is not None, "the crash")
    assert not file.exists()
    engine.start("dispatcher")
    job = engine.wait_for(job.name)
    assert samples(job) == list(range(12)) and files(job)
