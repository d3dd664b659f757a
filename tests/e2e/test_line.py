"""The whole line with every real process: from a run folder to a scored batch of images, through a killed worker."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from mintage.client import Client
from mintage.errors import ClientError
from mintage.v1.jobs_pb2 import Job, Shard
from PIL import Image

from handlers.archive import pack
from handlers.compute.latents import latents
from service.cli.stack.demo_audit import audit
from service.processes.stack import Stack, StateInUseError
from tests.support.runs import tiny_config, tiny_run
from training.recipes import Kind
from training.scores.classifier_score import classifier_score

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LEASE_S = 5
SEED = 2**64 - 1
FEATURES = 8  # the tiny classifier's last hidden units
KINDS: tuple[Kind, ...] = ("generator", "classifier")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = dataclasses.replace(tiny_config(), channels=1)
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny", config=config)


@pytest.fixture(scope="module")
def stack(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with two workers and both models loaded."""
    state = tmp_path_factory.mktemp("stack")
    with Stack(state, workers=2, overrides={"MINTAGE_LEASE_S": str(LEASE_S)}) as stack:
        stack.start()
        with Client(stack.api_address) as client:
            for kind in KINDS:
                pack(run, kind, stack.settings.archives / f"{kind}.mar", micro_batch=16)
                client.load_model(kind, f"{kind}.mar")
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.api_address) as client:
        yield client


def finished(client: Client, job: Job) -> Job:
    """Watch a job to its end."""
    for change in client.watch(job.name):
        job = change
    return job


def folder_of(job: Job) -> Path:
    return Path(job.output_uri.removeprefix("file://"))


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_one_sample_is_the_same_from_latent_to_png_to_shard_to_score(client: Client, run: Path) -> None:
    import torch

    from handlers.compute.model import from_run

    index = 37
    job = finished(client, client.create_sample_job("generator", 60, seed=SEED, shard_size=25))
    scored = finished(client, client.create_score_job("classifier", job.name, splits=2))

    # The latent, and the network of the run folder, made ready to serve, called by hand on some samples.
    model = from_run(run, "generator", torch.device("cpu"))
    rows = latents(SEED, 32, 16, model.config.latent_size, model.config.latent_distribution)
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(rows))[index - 32].permute(1, 2, 0)

    # The image, now; as a PNG in the job's second shard; and as one of the scored images.
    now = client.generate("generator", 1, seed=SEED, first_index=index)[0]
    with tarfile.open(sorted(folder_of(job).glob("data/*.tar"))[1]) as tar:
        facts = json.load(tar.extractfile(f"{index:09d}.json"))  # type: ignore[arg-type]
        with Image.open(io.BytesIO(tar.extractfile(f"{index:09d}.png").read())) as image:  # type: ignore[union-attr]
            shard = np.asarray(image)[..., np.newaxis]
    probabilities = client.classify("classifier", client.generate("generator", 60, seed=SEED)).probabilities
    score = classifier_score(probabilities, splits=2)

    assert np.abs(now.astype(float) - (expected.numpy() + 1) * 127.5).max() <= 0.5 + 1e-3
    assert np.array_equal(shard, now)
    assert (facts["index"], facts["seed"]) == (
        index,
        str(SEED),
    )  # of 2^63 and more as text: readers of JSON take no more
    assert scored.state == Job.STATE_SUCCEEDED
    assert scored.classifier_score.images == 60
    assert scored.classifier_score.mean == pytest.approx(score.mean, abs=1e-6)  # other rows, other last bits
    assert sum(scored.classifier_score.class_counts) == 60
    compared = client.create_score_job("classifier", job.name, splits=2, reference_job=scored.name)
    compared = finished(client, compared)
    assert compared.root_digest == scored.root_digest and compared.classifier_score == scored.classifier_score
    assert compared.comparison.features == FEATURES
    assert compared.comparison.frechet_distance == pytest.approx(0, abs=1e-6)
    assert (compared.comparison.precision, compared.comparison.coverage) == (1, 1)
    *_, made_again = client.verify(job.name, recompute=60)
    assert made_again.verdict.sound and made_again.verdict.progress.samples_recomputed == 60
    *_, hashed = client.verify(scored.name)
    assert hashed.verdict.sound and hashed.verdict.progress.shards_checked == 3


def test_a_job_whose_worker_is_killed_ends_with_every_image_once_and_the_bytes_of_an_undisturbed_job(
    client: Client, stack: Stack
) -> None:
    undisturbed = finished(client, client.create_sample_job("generator", 400, seed=5, shard_size=40))
    job = client.create_sample_job("generator", 400, seed=5, shard_size=40, max_images_per_second=100)
    killed: list[str] = []
    for change in client.watch(job.name):
        holders = [s.worker for s in client.shards(job.name) if s.state == Shard.STATE_LEASED]
        if not killed and change.progress.images_done >= 100 and holders:
            killed.append(holders[0].partition("/")[0])
            stack.process(killed[0]).signal_group(signal.SIGKILL)
        job = change

    found, expected = audit(folder_of(job), expected=400), audit(folder_of(undisturbed), expected=400)

    assert killed
    assert job.state == Job.STATE_SUCCEEDED
    assert job.progress.attempts > job.progress.shards_total
    assert (found.images, found.missing, found.twice, found.damaged_shards) == (400, 0, 0, 0)
    assert found.files == expected.files
    assert job.root_digest == undisturbed.root_digest
    assert not list(Path(stack.settings.outputs).rglob("*.tmp*"))
    until(lambda: stack.process(killed[0]).alive())


@pytest.mark.parametrize("victim", ["model server", "model worker", "api", "dispatcher"])
def test_a_job_outlives_every_other_process_too(client: Client, stack: Stack, victim: str) -> None:
    undisturbed = finished(client, client.create_sample_job("generator", 200, seed=6, shard_size=40))
    job = client.create_sample_job("generator", 200, seed=6, shard_size=40, max_images_per_second=100)
    watched: list[int] = []
    for change in client.watch(job.name):
        if change.progress.images_done >= 48 and not any(images >= 48 for images in watched):
            kill(stack, victim)
        watched.append(change.progress.images_done)
        job = change

    found, expected = audit(folder_of(job), expected=200), audit(folder_of(undisturbed), expected=200)

    assert job.state == Job.STATE_SUCCEEDED
    assert watched == sorted(watched)
    assert job.progress.attempts == job.progress.shards_total
    assert (found.images, found.missing, found.twice, found.damaged_shards) == (200, 0, 0, 0)
    assert found.files == expected.files
    assert job.root_digest == undisturbed.root_digest


def kill(stack: Stack, victim: str) -> None:
    """SIGKILL a process of the stack; a model worker is a Python process that TorchServe has started."""
    if victim == "model worker":
        for worker in psutil.Process(stack.process("torchserve").pid).children(recursive=True):
            worker.kill()
    else:
        stack.process({"model server": "torchserve"}.get(victim, victim)).signal_group(signal.SIGKILL)


def test_models_come_back_after_the_model_server_is_killed(client: Client, stack: Stack) -> None:
    before = client.generate("generator", 3, seed=1)

    stack.process("torchserve").signal_group(signal.SIGKILL)
    until(lambda: not client.health())
    until(client.health)

    assert np.array_equal(client.generate("generator", 3, seed=1), before)


def test_a_job_goes_on_with_its_model_when_that_is_replaced_unloaded_and_lost(
    client: Client, stack: Stack, run: Path
) -> None:
    pack(run, "generator", stack.settings.archives / "swapped.mar", micro_batch=16)
    first = client.load_model("swapped", "swapped.mar")
    undisturbed = finished(client, client.create_sample_job("swapped", 400, seed=3, shard_size=40))
    job = client.create_sample_job("swapped", 400, seed=3, shard_size=40, max_images_per_second=40)
    until(lambda: client.job(job.name).progress.images_done > 0)

    pack(run, "generator", stack.settings.archives / "swapped.mar", micro_batch=8)
    second = client.load_model("swapped", "swapped.mar")
    assert second.digest != first.digest == job.sample.model_digest
    assert len(client.generate("swapped", 3, seed=1)) == 3
    client.unload_model("swapped")
    with pytest.raises(ClientError, match="no model"):
        client.generate("swapped", 3, seed=1)
    stack.process("torchserve").signal_group(signal.SIGKILL)
    job = finished(client, job)

    assert job.state == Job.STATE_SUCCEEDED, job.error
    assert job.root_digest == undisturbed.root_digest
    until(client.health)


def test_a_cancelled_job_stops_and_keeps_its_finished_shards(client: Client) -> None:
    job = client.create_sample_job("generator", 10_000, shard_size=50, max_images_per_second=200)
    for change in client.watch(job.name):
        if change.progress.shards_done >= 1:
            client.cancel(job.name)
        job = change

    assert job.state == Job.STATE_CANCELLED
    assert 0 < job.progress.images_committed < 10_000


def test_the_same_request_id_is_the_same_job(client: Client) -> None:
    first = client.create_sample_job("generator", 10, request_id="one")
    second = client.create_sample_job("generator", 10, request_id="one")
    with pytest.raises(ClientError, match="one"):
        client.create_sample_job("generator", 11, request_id="one")

    assert first.name == second.name


def test_a_stream_gives_the_files_of_a_jobs_shard_and_the_images_of_a_call(client: Client) -> None:
    job = finished(client, client.create_sample_job("generator", 300, seed=9, shard_size=300))
    with tarfile.open(folder_of(job) / "data/train-00000-of-00001.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".png")]
        stored = [tar.extractfile(name).read() for name in names]  # type: ignore[union-attr]

    streamed = [file for part in client.stream_generate_png("generator", 300, seed=9) for file in part]
    parts = list(client.stream_generate("generator", 300, seed=9))

    assert streamed == stored
    assert len(parts) > 1
    assert np.array_equal(np.concatenate(parts), client.generate("generator", 300, seed=9))


def test_the_command_line_says_what_is_wrong_in_one_line_and_ends_with_2(stack: Stack, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    (tmp_path / "empty").mkdir()
    cases = {
        "no model": ["sample", "missing", "-n", "4"],
        "count": ["sample", "generator", "-n", "100000"],
        "text as image": ["classify", "classifier", str(text)],
        "no job": ["jobs", "show", "jobs/doesnotexist"],
        "prefix": ["jobs", "sample", "generator", "-n", "10", "--output", "../out"],
        "empty data": ["train", "--data", str(tmp_path / "empty"), "--run", str(tmp_path / "run")],
        "no weights": ["pack", str(tmp_path / "empty"), "-o", str(tmp_path / "archives")],
    }
    for name, arguments in cases.items():
        result = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env=stack.environment,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (name, result.returncode) == (name, 2), result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list((tmp_path / "empty").iterdir())
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("archives/*"))


def test_two_stacks_cannot_share_a_state_folder(stack: Stack) -> None:
    with Stack(stack.state) as second, pytest.raises(StateInUseError, match="another Mintage runs"):
        second.start()


def test_ctrl_c_ends_the_stack_and_leaves_no_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("up")
    command = [sys.executable, "-m", "service", "up", "--state", str(state), "--address", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if "Mintage is up" in line:
                break
        family = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(signal.SIGINT)

        assert "nothing is left" in process.stderr.read()
    assert process.wait() == 0
    assert len(family) >= 6
    until(lambda: not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE])
