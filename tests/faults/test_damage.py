"""Files of a job are damaged, while it runs or later: exactly what is wrong is made again, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mintage.v1 import jobs_pb2

from service.errors import FailedPrecondition
from tests.faults.engine import PATIENCE_S, Engine, State, running_engine, wait_until
from tests.faults.stored import InBucket, InFolder, Stored
from tests.support.image_folders import image_files
from tests.support.model_server import running_model_server
from tests.support.s3 import S3Server
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.e2e

KINDS = ("WEBDATASET", "PNG", "PARQUET", "NPZ", "SCORES")
SHARDS, SHARD_SIZE = 20, 2
REQUESTS = 14  # that pass before the model holds: a shard takes one or two
HARMS = (Stored.remove_both, Stored.remove_data, Stored.cut_data, Stored.remove_marker, Stored.cut_marker)
_BESIDE = ("manifest.json", ".mintage/contact-sheet.png", "plan.json", "SHA256SUMS", "README.md", "score.json")


class Kind:
    """Jobs of a kind and format, in one engine."""

    def __init__(self, engine: Engine, name: str, source: Kind | None) -> None:
        self._engine, self._name, self._source = engine, name, source

    def make(self) -> jobs_pb2.Job:
        """Create one."""
        if self._source is not None:
            return self._engine.score(self._source.calm.name)
        wanted = jobs_pb2.OutputFormat.Value(f"OUTPUT_FORMAT_{self._name}")
        return self._engine.sample(SHARDS * SHARD_SIZE, SHARD_SIZE, format=wanted)

    @functools.cached_property
    def calm(self) -> jobs_pb2.Job:
        """One that has ended and that nobody harms."""
        return self._engine.wait_for(self.make().name)


@pytest.fixture(scope="module", params=["folder", "bucket"])
def stored(request: pytest.FixtureRequest) -> Stored:
    """Where the jobs of all tests here write: each test harms only its own."""
    if request.param == "folder":
        return InFolder()
    s3: S3Server = request.getfixturevalue("s3_server")
    s3.clear()
    return InBucket(s3)


@pytest.fixture(scope="module")
def running(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that writes there: its processes take longer to start than most tests."""
    folder, place = (
        tmp_path_factory.mktemp("damage"),
        stored.s3.settings("base") if isinstance(stored, InBucket) else {},
    )
    with (
        running_valkey(folder / "valkey") as valkey,
        running_model_server() as models,
        running_engine(folder / "state", valkey, models, **place) as engine,
    ):
        engine.start_all()
        yield engine


@pytest.fixture(scope="module")
def kinds(running: Engine) -> dict[str, Kind]:
    """Every kind of job."""
    images = {name: Kind(running, name, None) for name in KINDS[:-1]}
    return images | {"SCORES": Kind(running, "SCORES", images["WEBDATASET"])}


@pytest.fixture
def engine(running: Engine) -> Iterator[Engine]:
    """The engine; whatever a test did, its model answers the next one, and the harm it asked for is forgotten."""
    yield running
    running.models.pass_gate.set()
    running.models.open_for = 0
    for asked in running.crashes():
        running.forget_crash(asked)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, engine: Engine, kinds: dict[str, Kind]) -> Kind:
    """A kind of job."""
    return kinds[request.param]


def held_with(engine: Engine, make: Callable[[], jobs_pb2.Job], shards: int) -> tuple[jobs_pb2.Job, list[int]]:
    """A job that has finished so many shards, and cannot go on; returns it and their numbers."""
    engine.models.pass_gate.clear()
    engine.models.open_for = REQUESTS
    job = make()
    wait_until(lambda: engine.job(job.name).progress.shards_done >= shards, "the first shards")
    done = [shard.index for shard in engine.shards(job.name) if shard.state == jobs_pb2.Shard.STATE_DONE]
    return job, done[:shards]


def test_damage_while_it_runs_is_mended_before_the_manifest(engine: Engine, stored: Stored, kind: Kind) -> None:
    calm = kind.calm
    job, done = held_with(engine, kind.make, len(HARMS))
    for harm, shard in zip(HARMS, done, strict=True):
        harm(stored, job, shard)
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name)
    assert stored.data(job) == stored.data(calm) and job.root_digest == calm.root_digest
    assert [shard.attempt for shard in engine.shards(job.name)] == [1 + (k in done) for k in range(SHARDS)]
    assert job.progress.images_done == SHARDS * SHARD_SIZE
    assert (job.progress.shards_done, job.progress.shards_failed) == (SHARDS, 0)
    assert engine.verify(job.name)[-1].verdict.sound


@pytest.mark.parametrize("stored", ["bucket"], indirect=True)
def test_half_of_a_put_is_put_again(engine: Engine, stored: Stored, kind: Kind) -> None:
    assert isinstance(stored, InBucket)
    calm, faults = kind.calm, stored.s3.faults
    names = [stored.data_names(calm, 1)[0], ".mintage/000002.json", "plan.json", "manifest.json"]
    faults.halved = list(names)
    job = engine.wait_for(kind.make().name)
    assert faults.halved == []
    assert stored.data(job) == stored.data(calm) and job.root_digest == calm.root_digest
    assert [shard.attempt for shard in engine.shards(job.name)] == [1] * SHARDS
    assert engine.verify(job.name)[-1].verdict.sound


def test_folder_removed_while_it_runs_ends_the_job_which_can_be_made_again(
    engine: Engine, stored: Stored, kind: Kind
) -> None:
    calm = kind.calm
    job, _ = held_with(engine, kind.make, 2)
    other = kind.make()
    for each in (job, other):
        stored.remove_all(each)
    engine.models.pass_gate.set()
    job, other = (engine.wait_for(each.name, State.STATE_FAILED) for each in (job, other))
    assert "OUTPUT_LOST" in job.error and "OUTPUT_LOST" in other.error and stored.files(job) == {}
    engine.delete(other.name)
    assert not engine.knows(other.name)
    engine.retry(job.name)
    job = engine.wait_for(job.name)
    assert stored.data(job) == stored.data(calm) and job.root_digest == calm.root_digest
    assert engine.verify(job.name)[-1].verdict.sound


@pytest.mark.parametrize("stored", ["folder"], indirect=True)
def test_folder_removed_of_scores_of_a_folder_lists_it_again(engine: Engine, stored: Stored) -> None:
    image_files(engine.settings.inputs / "set", SHARDS * SHARD_SIZE)

    def make() -> jobs_pb2.Job:
        return engine.score("", source_folder="set", shard_size=SHARD_SIZE)

    calm = engine.wait_for(make().name)
    job, _ = held_with(engine, make, 2)
    stored.remove_all(job)
    engine.models.pass_gate.set()
    job = engine.wait_for(job.name, State.STATE_FAILED)
    assert "OUTPUT_LOST" in job.error
    engine.retry(job.name)
    job = engine.wait_for(job.name)
    assert job.root_digest == calm.root_digest and job.classifier_score == calm.classifier_score


def test_repair_makes_exactly_what_is_wrong_again(engine: Engine, stored: Stored, kind: Kind) -> None:
    job = engine.wait_for(kind.make().name)
    before, attempts = stored.files(job), engine.job(job.name).progress.attempts
    assert engine.repair(job.name)[-1].outcome.findings == 0 and stored.files(job) == before
    harms = (Stored.flip_data, *HARMS)
    for shard, harm in enumerate(harms, start=2):
        harm(stored, job, shard)
    for name in _BESIDE:
        if name in before:
            stored.write(job, name, before[name][:20])
    *parts, last = engine.repair(job.name)
    outcome = last.outcome
    assert outcome.sound, (outcome, engine.log_text())
    found = {
        part.finding.shard for part in parts if part.WhichOneof("part") == "finding" and part.finding.HasField("shard")
    }
    assert found == set(range(2, 2 + len(harms)))
    markers = sum(harm in (Stored.remove_marker, Stored.cut_marker) for harm in harms)
    assert (outcome.shards_made, outcome.markers_written) == (len(harms) - markers, markers)
    assert "manifest.json" in outcome.files_written and outcome.root_digest == job.root_digest
    after = engine.wait_for(job.name)
    assert after.progress.attempts == attempts + len(harms)
    same = {name for name in before if not name.startswith(("manifest", "SHA256SUMS", ".mintage/0"))}
    found_files = stored.files(job)
    assert {name: found_files[name] for name in same} == {name: before[name] for name in same}
    assert set(found_files) == set(before)
    assert engine.verify(job.name)[-1].verdict.sound
    assert engine.repair(job.name)[-1].outcome.findings == 0


def test_repair_brings_a_folder_back_that_was_removed(engine: Engine, stored: Stored, kind: Kind) -> None:
    job = engine.wait_for(kind.make().name)
    before = stored.data(job)
    stored.remove_all(job)
    outcome = engine.repair(job.name)[-1].outcome
    assert outcome.sound and outcome.shards_made == SHARDS and outcome.root_digest == job.root_digest
    assert stored.data(job) == before and engine.verify(job.name)[-1].verdict.sound


@pytest.mark.parametrize("stored", ["folder"], indirect=True)
@pytest.mark.parametrize("kind", ["WEBDATASET", "PNG"], indirect=True)
def test_repair_survives_kills_and_replaces_nothing_before_it_is_proven(
    engine: Engine, stored: Stored, kind: Kind
) -> None:
    job = engine.wait_for(kind.make().name)
    before = stored.data(job)
    for shard in range(4):
        stored.flip_data(job, shard)
    harmed = stored.data(job)
    for shard, point in enumerate(("mid_shard", "after_fsync", "after_publish", "before_commit")):
        engine.crash(point, shard=shard, attempt=2)
    engine.crash("before_manifest")
    dispatcher = engine.latest["dispatcher"]
    with ThreadPoolExecutor(1) as caller:
        repairing = caller.submit(engine.repair, job.name)
        wait_until(lambda: dispatcher.poll() is not None, "the crash of the dispatcher")
        now = stored.data(job)
        assert all(now[name] in (before[name], harmed[name]) for name in before)
        engine.start("dispatcher")
        outcome = repairing.result(PATIENCE_S)[-1].outcome
    assert outcome.sound and outcome.shards_made == 4 and engine.crashes() == []
    assert stored.data(job) == before and outcome.root_digest == job.root_digest


@pytest.mark.parametrize("stored", ["folder"], indirect=True)
@pytest.mark.parametrize("kind", ["WEBDATASET"], indirect=True)
def test_repair_does_nothing_if_another_model_is_served(engine: Engine, stored: Stored, kind: Kind) -> None:
    job = engine.wait_for(kind.make().name)
    stored.flip_data(job, 1)
    before = stored.files(job)
    record = engine.registry.find("digits")
    engine.registry.write(dataclasses.replace(record, digest="e" * 64))
    try:
        with pytest.raises(FailedPrecondition) as refused:
            engine.repair(job.name)
    finally:
        engine.registry.write(record)
    assert refused.value.reason == "MODEL_DIGEST_DIFFERS"
    assert stored.files(job) == before and engine.job(job.name).state == State.STATE_SUCCEEDED


@pytest.mark.parametrize("stored", ["folder"], indirect=True)
@pytest.mark.parametrize("kind", ["PNG"], indirect=True)
def test_repair_leaves_a_strange_file_alone(engine: Engine, stored: Stored, kind: Kind) -> None:
    job = engine.wait_for(kind.make().name)
    name = stored.data_names(job, 1)[0].rpartition("/")[0] + "/notes.txt"
    stored.write(job, name, b"mine")
    *parts, last = engine.repair(job.name)
    assert not last.outcome.sound and last.outcome.shards_made == 0
    assert "notes.txt" in parts[-1].remaining.detail and stored.files(job)[name] == b"mine"
