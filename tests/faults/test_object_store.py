"""Jobs in a bucket: the same images and digests as on a disk, whatever dies or is away."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.errors import Unavailable
from service.jobs.plan import read_plan
from service.jobs.shards.formats.choice import image_layout_of
from service.jobs.shards.marker import Marker
from service.jobs.shards.publish import publish
from service.jobs.shards.root import root_digest
from service.jobs.storage.local_store import LocalStore
from tests.faults.engine import POINTS, Engine, running_engine, wait_until
from tests.support.formula import made_images
from tests.support.model_server import FakeTorchServe
from tests.support.s3 import BUCKET, SECRET, S3Server
from tests.support.valkey import Valkey

pytestmark = pytest.mark.e2e


ENDING = {"plan.json", "manifest.json", "README.md", "SHA256SUMS", ".mintage/contact-sheet.png"}


@pytest.fixture
def engine(tmp_path: Path, valkey: Valkey, models: FakeTorchServe, s3: S3Server) -> Iterator[Engine]:
    """An engine that writes to a bucket."""
    with running_engine(tmp_path / "state", valkey, models, **s3.settings("base")) as engine:
        yield engine


def objects(s3: S3Server, job: jobs_pb2.Job) -> dict[str, bytes]:
    """The files of a job by name."""
    prefix = job.output_uri.removeprefix(f"s3://{BUCKET}/") + "/"
    return {key.removeprefix(prefix): data for key, data in s3.objects(prefix).items()}


def expected(folder: Path, plan_json: bytes) -> tuple[dict[str, bytes], str]:
    """What a job makes on a disk: its images by file, and its root digest."""
    plan = read_plan(plan_json)
    assert plan.sampling is not None
    output, layout, digests = LocalStore(folder).output(plan.prefix), image_layout_of(plan), []
    for shard in range(plan.shards):
        span = plan.span(shard)
        with layout.temporary(output, "t.") as temporary:
            writer = layout.writer(temporary, shard)
            writer.add(span.start, made_images(plan.sampling.seed, span))
            writer.finish()
            marker = Marker(
                shard=shard,
                first_index=span.start,
                count=len(span),
                digest=writer.digest,
                bytes=writer.size,
                attempt=1,
                worker="",
                plan_digest=plan.digest,
            )
            publish(output, plan, marker, temporary)
        digests.append(writer.digest)
    files = [path for path in (folder / plan.prefix).rglob("*") if path.is_file() and path.suffix != ".json"]
    return {path.relative_to(folder / plan.prefix).as_posix(): path.read_bytes() for path in files}, root_digest(
        digests
    )


def listed(engine: Engine) -> dict[str, jobs_pb2.Job]:
    """Every job that the ledger knows, by name; none while it is being rebuilt."""
    try:
        answer = engine.call(lambda api: api.ListJobs(jobs_pb2.ListJobsRequest(), None))
    except Unavailable:
        return {}
    return {job.name: job for job in answer.jobs}


def check(s3: S3Server, job: jobs_pb2.Job, folder: Path) -> None:
    """A job has exactly the images and the digest that it would have on a disk."""
    stored = objects(s3, job)
    files, digest = expected(folder, stored["plan.json"])
    assert {name: data for name, data in stored.items() if name in files} == files
    assert job.root_digest == digest
    beside = {name for name in stored if name not in files and not re.fullmatch(r"\.mintage/[0-9]{6}\.json", name)}
    assert beside - {"data/train/metadata.jsonl"} == ENDING


def test_a_killed_worker_and_a_store_that_is_away_change_no_byte(engine: Engine, s3: S3Server, tmp_path: Path) -> None:
    worker = engine.start_all()[0]
    engine.models.pass_gate.clear()
    engine.models.open_for = 1
    name = engine.sample(40, 20).name
    wait_until(lambda: len(engine.models.requests) >= 2, "a worker in the middle of a shard")
    engine.kill(worker)
    s3.faults.down = True
    engine.models.pass_gate.set()
    engine.start("worker")
    wait_until(lambda: s3.faults.refused > 20, "a worker that finds the store away")
    wait_until(lambda: "does not answer" in engine.job(name).wait_reason, "the reason, while the worker tries again")
    s3.faults.down = False
    job = engine.wait_for(name)
    assert not job.wait_reason and job.progress.attempts == 3 and job.output_uri == f"s3://{BUCKET}/base/{name}"
    check(s3, job, tmp_path / "expected")
    assert not list((tmp_path / "state/spool").rglob(".tmp/*"))
    assert engine.verify(name, recompute=3)[-1].verdict.sound
    data = engine.read_shard(name, 1)
    assert hashlib.sha256(data).hexdigest() == engine.shards(name)[1].digest
    assert SECRET not in engine.log_text()


def test_jobs_in_a_bucket_are_found_scored_and_deleted(engine: Engine, s3: S3Server) -> None:
    engine.start_all()
    source = engine.wait_for(engine.sample(12, 4, format=jobs_pb2.OUTPUT_FORMAT_NPZ).name)
    score = engine.wait_for(engine.score(source.name).name)
    assert score.classifier_score.images == 12
    client = engine.valkey.client()
    client.flushall()
    client.close()
    again = wait_until(lambda: found if len(found := listed(engine)) == 2 else None, "the jobs that were forgotten")
    assert again[source.name].root_digest == source.root_digest
    assert again[score.name].classifier_score == score.classifier_score
    engine.delete(source.name)
    engine.delete(score.name)
    assert not [name for name in s3.objects() if "/.trial-" not in name]  # which the dispatcher may be making now


def test_shards_in_a_bucket_survive_a_crash_at_every_point(engine: Engine, s3: S3Server, tmp_path: Path) -> None:
    engine.start_all(workers=2, MINTAGE_WORKER_PROCESSES="2")
    for shard, point in enumerate((*POINTS, "mid_publish")):
        engine.crash(point, shard=shard)
    job = engine.wait_for(engine.sample(28, 4, format=jobs_pb2.OUTPUT_FORMAT_PNG).name)
    assert engine.crashes() == [] and job.progress.attempts == 14
    check(s3, job, tmp_path / "expected")
    assert engine.verify(job.name)[-1].verdict.sound
    wait_until(lambda: not list((tmp_path / "state/spool").rglob(".tmp/*")), "the sweep of what the dead left")
