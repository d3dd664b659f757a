"""What a run goes on from: the same bits as a straight run, and no state, weights or settings that do not fit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.trainings import contents, read_state, stop_after
from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.errors import RunError
from training.export import export
from training.loop.loop import train
from training.recipes import Recipe
from training.runs.checkpoint import load_run
from training.runs.lock import holder


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


def test_metrics_after_the_last_checkpoint_are_forgotten_on_resuming(tmp_path: Path) -> None:
    answers = stop_after(3)
    train(small_recipe(), blobs(), tmp_path / "run", should_stop=answers.pop)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"images_seen": 32}\n{"images_se')  # what a crash leaves behind

    train(small_recipe(), blobs(), tmp_path / "run")

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 24, 32, 40, 48, 64, 80]
    assert all("losses" in line for line in lines)


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
