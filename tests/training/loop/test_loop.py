"""The training loop: what it writes, how it stops, and that a resumed run is the straight one."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.data import LabelledImages
from training.errors import DataError, DivergedError, RunError
from training.export import export
from training.families.gan import GanTraining
from training.loop.loop import train
from training.loop.progress import Progress
from training.recipes import Recipe
from training.runs.checkpoint import State, load_run, load_state
from training.runs.lock import holder


def read_state(run: Path) -> State:
    state = load_state(run, load_run(run).config)
    assert state is not None
    return state


def stop_after(steps: int) -> list[bool]:
    """Answers to "should it stop?", last one first: so many times no, then yes."""
    return [True] + [False] * steps


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


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(tmp_path: Path, steps: int) -> None:
    recipe, data = small_recipe(decay_from=0.5), blobs()
    train(recipe, data, tmp_path / "straight")

    answers = stop_after(steps)
    first = train(recipe, data, tmp_path / "resumed", should_stop=answers.pop)
    torch.manual_seed(99)  # whatever another program did with the global stream
    second = train(recipe, data, tmp_path / "resumed")

    assert (first.ended, first.images_seen, second.ended) == ("stopped", 8 * steps, "finished")
    straight, resumed = read_state(tmp_path / "straight").tensors, read_state(tmp_path / "resumed").tensors
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert (tmp_path / "straight/samples/latest.png").read_bytes() == (
        tmp_path / "resumed/samples/latest.png"
    ).read_bytes()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "one")
    train(small_recipe(seed=2), blobs(), tmp_path / "two")

    one, two = (load_run(tmp_path / name).weights["generator.output.bias"] for name in ("one", "two"))
    assert not torch.equal(one, two)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    summary = train(small_recipe(), blobs(), tmp_path / "run")

    assert (summary.ended, summary.images_seen) == ("finished", 80)
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


def test_metrics_after_the_last_checkpoint_are_forgotten_on_resuming(tmp_path: Path) -> None:
    answers = stop_after(3)
    train(small_recipe(), blobs(), tmp_path / "run", should_stop=answers.pop)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"images_seen": 32}\n{"images_se')  # what a crash leaves behind

    train(small_recipe(), blobs(), tmp_path / "run")

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 24, 32, 40, 48, 64, 80]
    assert all("losses" in line for line in lines)


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


def test_a_run_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")

    with pytest.raises(RunError, match=r"hidden_noise is 0.5, not 0.1.*choose another --run folder"):
        train(small_recipe(hidden_noise=0.1), blobs(), tmp_path / "run")


def test_a_folder_that_holds_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(RunError, match="exists and is not a run folder"):
        train(small_recipe(), blobs(), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")
    path = tmp_path / "run" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(RunError, match=r"state\.safetensors is truncated"):
        train(small_recipe(), blobs(), tmp_path / "run")


def test_test_images_must_fit_the_training_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test images are \[8, 8, 1\] \(H, W, C\), but training images \[6, 6, 1\]"):
        train(small_recipe(), blobs(), tmp_path / "run", test=blobs(side=8))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels", [7, 2])
def test_labels_must_be_shared_evenly_by_the_classes(tmp_path: Path, labels: int) -> None:
    with pytest.raises(DataError, match=f"labels={labels} cannot be shared by 3 classes"):
        train(small_recipe(labels=labels), blobs(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


PIXELS = blobs(side=32).images


@pytest.mark.parametrize(
    ("recipe", "pixels", "message"),
    [
        (small_dcgan_recipe(), PIXELS[:, :27, :27], "no form for images of 27 x 27 with 1 channels: it needs 28 x 28"),
        (small_dcgan_recipe(), PIXELS[:, :16], "no form for images of 32 x 16"),
        (small_dcgan_recipe(), PIXELS.repeat(2, axis=3), "with 2 channels"),
        (
            dataclasses.replace(small_recipe(), network="conv"),
            PIXELS[:, :28, :28],
            "convolutional K.1 networks are for",
        ),
        (
            small_recipe(),
            PIXELS[:0],
            r"training images are uint8 \[0, 32, 32, 1\], expected uint8 \[N, H, W, C\] with N",
        ),
        (small_recipe(), PIXELS[..., 0], r"training images are uint8 \[60, 32, 32\], expected"),
        (small_recipe(), PIXELS * np.float32(np.nan), r"training images are float32 \[60, 32, 32, 1\], expected uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, recipe: Recipe, pixels: NDArray[np.uint8], message: str
) -> None:
    labels = np.arange(len(pixels)) % 3

    with pytest.raises(DataError, match=message):
        train(recipe, LabelledImages(pixels, labels, ("a", "b", "c")), tmp_path / "run")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "classes", "message"),
    [
        (3, ("a", "b", "c"), r"a training image has the label 3, expected 0\.\.2: there are 3 classes"),
        (-1, ("a", "b", "c"), r"a training image has the label -1, expected 0\.\.2"),
        (0, (), r"a training image has the label 0, expected -1\.\.-1: there are 0 classes"),
    ],
)
def test_labels_out_of_range_are_refused(tmp_path: Path, wrong: int, classes: tuple[str, ...], message: str) -> None:
    labels = np.arange(60) % 3 if classes else np.full(60, -1)
    labels[7] = wrong

    with pytest.raises(DataError, match=message):
        train(small_dcgan_recipe(conditional="yes"), LabelledImages(PIXELS, labels, classes), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_a_label_an_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training labels are \[59\] for 60 images"):
        train(small_recipe(), LabelledImages(PIXELS, np.zeros(59, np.int64), ("a",)), tmp_path / "run")


def test_a_run_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")

    with pytest.raises(RunError, match=r"recipe is ssgan-digits, not gan-mnist.*choose another --run folder"):
        train(small_adversarial_recipe(), blobs(), tmp_path / "run")


def test_the_state_of_other_networks_is_refused(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")
    train(small_recipe(generator_widths=(5, 4)), blobs(), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "state.safetensors", tmp_path / "run")

    with pytest.raises(RunError, match="the saved state does not fit the recipe's networks"):
        train(small_recipe(), blobs(), tmp_path / "run")


def test_a_state_that_is_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")
    path, state = tmp_path / "run" / "state.safetensors", read_state(tmp_path / "run")
    state.tensors["generator.output.bias"][3] = math.nan
    header = {"recipe": "ssgan-digits", "images_seen": "80", "seconds": "1.0"}
    save_file(dict(state.tensors), path, header)

    with pytest.raises(RunError, match=r"generator\.output\.bias of the saved state is not finite"):
        train(small_recipe(), blobs(), tmp_path / "run")


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


def test_weights_without_state_are_never_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_recipe(), blobs(), run)
    export(run, tmp_path / "exported")
    (run / "state.safetensors").unlink()

    for folder in (run, tmp_path / "exported"):
        before = contents(folder)
        with pytest.raises(RunError, match=r"holds weights but no state\.safetensors.*choose another --run folder"):
            train(small_recipe(), blobs(), folder)
        assert contents(folder) == before


@pytest.mark.parametrize("recipe", [small_recipe(), small_dcgan_recipe()], ids=["ssgan", "dcgan"])
def test_weights_that_are_missing_or_old_are_written_again_from_the_state(tmp_path: Path, recipe: Recipe) -> None:
    run, data, said = tmp_path / "run", blobs(side=32), list[str]()
    train(recipe, data, run, should_stop=stop_after(2).pop)
    old = (run / "checkpoint.safetensors").read_bytes()
    train(recipe, data, run)
    finished = load_run(run)

    for content in (None, old):
        if content is None:
            (run / "checkpoint.safetensors").unlink()
            with pytest.raises(RunError, match="the command that trained it writes the weights again"):
                load_run(run)
        else:
            (run / "checkpoint.safetensors").write_bytes(content)
        assert train(recipe, data, run, say=said.append).ended == "finished"
        again = load_run(run)
        assert again.images_seen == finished.images_seen == recipe.images
        assert all(torch.equal(tensor, again.weights[name]) for name, tensor in finished.weights.items())
    assert [sentence.endswith("written from state.safetensors") for sentence in said] == [True, True]


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_recipe(), blobs(), run, should_stop=stop_after(1).pop)
    before = contents(run)
    program = (
        "import sys; from pathlib import Path; from training.runs.lock import locked\n"
        f"with locked(Path({str(run)!r})): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert holder(run) == other.pid
        with pytest.raises(RunError, match=rf"is being trained by process {other.pid}; wait for it or stop it"):
            train(small_recipe(), blobs(), run)
        other.kill()  # as hard as it gets: the lock dies with the process, and its file stays

    assert (run / ".lock").exists()
    assert holder(run) is None
    assert contents(run) == {**before, Path(".lock"): f"{other.pid}\n".encode()}
    assert train(small_recipe(), blobs(), run).ended == "finished"
    assert not (run / ".lock").exists()


def test_a_finished_run_is_extended_to_the_run_that_a_longer_one_is(tmp_path: Path) -> None:
    said: list[str] = []
    train(small_recipe(images=160), blobs(), tmp_path / "straight")
    train(small_recipe(), blobs(), tmp_path / "run")

    summary = train(small_recipe(images=160), blobs(), tmp_path / "run", say=said.append)

    assert (summary.ended, summary.images_seen) == ("finished", 160)
    assert said == [
        f"{tmp_path / 'run'} becomes a run of 160 images, of 80 before; 80 are done. It will equal a run of that "
        "length from the start"
    ]
    straight, extended = read_state(tmp_path / "straight").tensors, read_state(tmp_path / "run").tensors
    assert all(torch.equal(tensor, extended[name]) for name, tensor in straight.items())
    assert load_run(tmp_path / "run").config == load_run(tmp_path / "straight").config


@pytest.mark.parametrize(
    ("recipe", "longer", "message"),
    [
        (small_recipe(decay_from=0.5), 160, r"with decay_from=0\.5 the learning rates fall towards the end"),
        (
            small_autoencoder_recipe(schedule="greedily"),
            192,
            "with schedule=greedily each stage has a share of the run",
        ),
        (small_recipe(), 40, r"has seen 80 images already, more than 40: give --images 80 or more"),
    ],
)
def test_a_length_that_would_have_changed_the_steps_is_refused_with_the_reason(
    tmp_path: Path, recipe: Recipe, longer: int, message: str
) -> None:
    data = blobs(side=12)
    train(recipe, data, tmp_path / "run")
    before = contents(tmp_path / "run")

    with pytest.raises(RunError, match=message):
        train(dataclasses.replace(recipe, images=longer), data, tmp_path / "run")

    assert contents(tmp_path / "run") == before


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


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
