"""The training loop: what it writes, and how it stops."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.trainings import read_state, stop_after
from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.errors import DivergedError
from training.families.gan import GanTraining
from training.loop.loop import train
from training.loop.progress import Progress
from training.recipes import Recipe
from training.runs.checkpoint import load_run


def test_a_run_folder_holds_everything(tmp_path: Path) -> None:
    summary = train(small_recipe(), blobs(), tmp_path / "run", test=blobs(30, seed=1))

    assert (summary.ended, summary.images_seen, summary.steps) == ("finished", 80, 10)
    assert summary.test_accuracy is not None
    assert {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "state.safetensors",
        "card.md",
        "curves.png",
        "samples/000000040.png",
        "samples/000000080.png",
        "samples/latest.png",
    }
    assert "mintage train ssgan-digits --data blobs" in (tmp_path / "run" / "card.md").read_text()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "one")
    train(small_recipe(seed=2), blobs(), tmp_path / "two")

    one, two = (load_run(tmp_path / name).weights["generator.output.bias"] for name in ("one", "two"))
    assert not torch.equal(one, two)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = train(small_recipe(), blobs(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    summary = train(small_recipe(), blobs(), tmp_path / "run")

    assert (summary.ended, summary.images_seen) == ("finished", 80)
    assert read_state(tmp_path / "run").seconds == summary.seconds <= first.seconds
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("seconds", [0.2, 0.0])
def test_the_time_cap_ends_a_run_with_a_checkpoint(tmp_path: Path, seconds: float) -> None:
    recipe = small_recipe(images=10**9, max_seconds=seconds, checkpoint_images=10**9)

    summary = train(recipe, blobs(), tmp_path / "run")

    assert summary.ended == "out of time"
    assert load_run(tmp_path / "run").images_seen == summary.images_seen > 0


def test_reports_come_at_their_interval_and_at_every_checkpoint(tmp_path: Path) -> None:
    reports: list[Progress] = []

    train(small_recipe(), blobs(), tmp_path / "run", report=reports.append)

    assert [report.images_seen for report in reports] == [16, 32, 40, 48, 64, 80]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 32, 40, 48, 64, 80]
    assert lines[0]["losses"]["labels"] > 0


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = GanTraining.advance

    def poisoned(training: GanTraining) -> object:
        if training.images_seen == 48:
            with torch.no_grad():
                training.weights()["discriminator.output.bias"].fill_(math.nan)
        return advance(training)

    monkeypatch.setattr(GanTraining, "advance", poisoned)
    with pytest.raises(
        DivergedError, match=r"after 48 images a loss is no longer finite.*checkpoint is kept; try lower"
    ):
        train(small_recipe(), blobs(), tmp_path / "run")

    assert load_run(tmp_path / "run").images_seen == 40


def test_a_full_disk_keeps_the_last_checkpoint_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_recipe(), blobs(), run, should_stop=stop_after(3).pop)
    before = {name: (run / name).read_bytes() for name in ("checkpoint.safetensors", "state.safetensors")}

    ended = train_with_files_of_at_most(len(before["checkpoint.safetensors"]) // 2, run)

    assert ended == (
        f"the checkpoint of {run} after 40 images cannot be written (File too large): its last checkpoint is kept; "
        "make room and run the same command again"
    )
    assert before == {name: (run / name).read_bytes() for name in before}
    assert not list(run.glob(".*")), "half a file was left behind"
    summary = train(small_recipe(), blobs(), run)
    train(small_recipe(), blobs(), tmp_path / "straight")
    assert summary.ended == "finished"
    straight, resumed = read_state(tmp_path / "straight").tensors, read_state(run).tensors
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())


def train_with_files_of_at_most(size: int, run: Path) -> str:
    """Train in a process to which the system gives no larger files, and return its error."""
    program = (
        "import resource, sys; from pathlib import Path; from tests.training.fakes import blobs, small_recipe;"
        "from training.errors import RunError; from training.loop.loop import train\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        f"try: train(small_recipe(), blobs(), Path({str(run)!r}))\n"
        "except RunError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "recipe",
    [small_recipe(), small_adversarial_recipe(), small_dcgan_recipe(), small_autoencoder_recipe()],
    ids=["ssgan", "gan", "dcgan", "autoencoder"],
)
def test_checkpoints_and_pictures_by_time_change_no_bit(tmp_path: Path, recipe: Recipe) -> None:
    data = blobs(side=12 if recipe.detects else 32)
    train(recipe, data, tmp_path / "straight")
    always = dataclasses.replace(recipe, checkpoint_images=10**9, checkpoint_seconds=0, sample_seconds=0)
    pictured = dataclasses.replace(always, checkpoint_seconds=math.inf)

    train(always, data, tmp_path / "saved", should_stop=stop_after(2).pop)
    train(always, data, tmp_path / "saved")
    train(pictured, data, tmp_path / "pictured", should_stop=stop_after(2).pop)
    (tmp_path / "pictured" / "samples" / "latest.png").unlink()
    drawn: list[bool] = []
    report = lambda _: drawn.append((tmp_path / "pictured" / "samples" / "latest.png").exists())  # noqa: E731
    train(pictured, data, tmp_path / "pictured", report=report)

    steps = recipe.images // recipe.batch_images
    assert len(list((tmp_path / "saved" / "samples").glob("0*.png"))) == steps
    assert len(list((tmp_path / "pictured" / "samples").glob("0*.png"))) == 2
    assert drawn[0], "no picture before the first report"
    straight = read_state(tmp_path / "straight").tensors
    for name in ("saved", "pictured"):
        assert all(torch.equal(tensor, straight[key]) for key, tensor in read_state(tmp_path / name).tensors.items())
        picture = tmp_path / name / "samples" / "latest.png"
        assert picture.read_bytes() == (tmp_path / "straight" / "samples" / "latest.png").read_bytes()
