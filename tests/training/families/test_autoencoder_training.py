"""Training an autoencoder: it learns, resumes to the bit in every schedule, and says what does not fit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.fakes import blobs, small_autoencoder_recipe
from tests.training.loop.events import events_of, images_seen
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError, DivergedError, RecipeError, RunError
from training.families import family_of
from training.families.autoencoder_training import AutoencoderTraining
from training.loop.loop import train
from training.loop.tensorboard import event_files
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.runs.checkpoint import load_run, load_state, served_weights

SCHEDULES = ("jointly", "apart", "greedily")


def small_training(**fields: object) -> AutoencoderTraining:
    data = blobs(side=12)
    return training_on(data, **fields)


def training_on(data: LabelledImages, **fields: object) -> AutoencoderTraining:
    training = family_of(RunConfig.of(small_autoencoder_recipe(**fields), data)).begin(data)
    assert isinstance(training, AutoencoderTraining)
    return training


def encoders(network: SparseAutoencoder) -> list[torch.Tensor]:
    return [stage.filters.weight.detach().clone() for stage in network.stages]  # type: ignore[operator, union-attr]


def moved(training: AutoencoderTraining) -> list[bool]:
    """Take a step and say which stages' filters it moved."""
    before = encoders(training.network)
    training.advance()
    after = encoders(training.network)
    return [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]


def test_a_run_folder_holds_everything(tmp_path: Path) -> None:
    summary = train(small_autoencoder_recipe(), blobs(side=12), tmp_path / "run", test=blobs(9, side=12, seed=1))

    assert (summary.ended, summary.images_seen, summary.test_accuracy) == ("finished", 96, None)
    run = load_run(tmp_path / "run")
    network = family_of(run.config).autoencoder()
    network.load_state_dict(served_weights(run, "neurons"), strict=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *(
            "config.json",
            "metrics.jsonl",
            "checkpoint.safetensors",
            "state.safetensors",
            "card.md",
            "curves.png",
            "samples",
        ),
    }


def test_the_card_tells_the_stages(tmp_path: Path) -> None:
    data = dataclasses.replace(blobs(side=12), name="photos/ + faces/", jpeg_quality=90)
    train(small_autoencoder_recipe(schedule="apart"), data, tmp_path / "run")

    card = (tmp_path / "run" / "card.md").read_text()

    assert (
        "| Stage 1 | 3 x 4 x 4 = 48 units (maps x height x width); fields 4 x 4 every 2, pools 2 x 2 every 1;" in card
    )
    assert "| Stage 3 | 5 x 1 x 1 = 5 units" in card
    weights = 2 * (25 * 3 * 16 + 9 * 4 * 12 + 5 * 16)
    assert f"| Weights | {weights:,}, of encoders and decoders |" in card
    assert "| Schedule | apart: each stage lowers its own loss, all at each step |" in card
    assert "| Data | photos + faces: 60 images, all written as JPEG of quality 90 and read, sha256" in card
    assert "--data photos/ --data faces/ --jpeg 90 --run" in card
    assert "patches that the first stage's filters are decoded to" in card


def test_losses_and_patches_are_there_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    with event_files(tmp_path / "run") as report:
        train(small_autoencoder_recipe(images=80), blobs(side=12), tmp_path / "run", report=report)

    events = events_of(tmp_path / "run")
    assert images_seen(events, "loss/reconstruction3") == [16, 32, 40, 48, 64, 80]
    assert [image.step for image in events.Images("samples")] == [40, 80]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_loss_falls(schedule: str) -> None:
    training = small_training(schedule=schedule, images=3200, rate=1e-2)
    first = training.advance()
    while training.images_seen < 3200:
        last = training.advance()

    assert last["reconstruction1"] + 0.1 * last["sparsity1"] < first["reconstruction1"] + 0.1 * first["sparsity1"]
    assert last["reconstruction1"] < 0.7 * first["reconstruction1"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 5, 11])
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(tmp_path: Path, schedule: str, steps: int) -> None:
    recipe, data = small_autoencoder_recipe(schedule=schedule, decay_from=0.5), blobs(side=12)
    train(recipe, data, tmp_path / "straight")

    answers = [True] + [False] * steps
    first = train(recipe, data, tmp_path / "resumed", should_stop=answers.pop)
    torch.manual_seed(99)  # whatever another program did with the global stream
    second = train(recipe, data, tmp_path / "resumed")

    assert (first.ended, first.images_seen, second.ended) == ("stopped", 8 * steps, "finished")
    straight, resumed = (
        load_state(tmp_path / name, load_run(tmp_path / name).config) for name in ("straight", "resumed")
    )
    assert straight is not None
    assert resumed is not None
    assert straight.tensors.keys() == resumed.tensors.keys()
    assert all(torch.equal(tensor, resumed.tensors[name]) for name, tensor in straight.tensors.items())
    pictures = [(tmp_path / name / "samples/latest.png").read_bytes() for name in ("straight", "resumed")]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("fields", [{"shift": 2.0}, {"scale": 0.2}, {"grey": 0.5}], ids="-".join)
def test_a_run_on_changed_images_learns_something_else_and_resumes_to_the_bit(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (60, 12, 12, 3), np.uint8)
    recipe, data = small_autoencoder_recipe(**fields), dataclasses.replace(blobs(side=12), images=colours)
    train(recipe, data, tmp_path / "straight")
    train(small_autoencoder_recipe(), data, tmp_path / "unchanged")

    answers = [True] + [False] * 3
    train(recipe, data, tmp_path / "resumed", should_stop=answers.pop)
    train(recipe, data, tmp_path / "resumed")

    straight, resumed, unchanged = (
        served_weights(load_run(tmp_path / name), "neurons") for name in ("straight", "resumed", "unchanged")
    )
    assert all(torch.equal(weight, resumed[name]) for name, weight in straight.items())
    assert not all(torch.equal(weight, unchanged[name]) for name, weight in straight.items())


def test_greedily_one_stage_after_the_other_learns_for_a_third_of_the_run() -> None:
    training = small_training(schedule="greedily", images=96, batch=8, beta1=0.0)

    assert [moved(training) for _ in range(12)] == (
        4 * [[True, False, False]] + 4 * [[False, True, False]] + 4 * [[False, False, True]]
    )


@pytest.mark.parametrize("schedule", ["jointly", "apart"])
def test_else_all_stages_learn_at_every_step(schedule: str) -> None:
    training = small_training(schedule=schedule)

    assert [moved(training) for _ in range(3)] == 3 * [[True, True, True]]


def test_apart_a_stage_learns_as_if_there_were_none_above_it() -> None:
    three = small_training(schedule="apart")
    shape = {name: getattr(three.config.settings, name)[:1] for name in ("maps", "receptive_fields", "strides")}
    shape |= {name: getattr(three.config.settings, name)[:1] for name in ("pools", "pool_strides", "sparsity")}
    one = small_training(schedule="apart", **shape)
    for _ in range(4):
        three.advance()
        one.advance()

    assert torch.allclose(encoders(three.network)[0], encoders(one.network)[0], atol=1e-6)


def test_jointly_the_stages_above_have_a_say() -> None:
    jointly, apart = small_training(schedule="jointly"), small_training(schedule="apart")
    for training in (jointly, apart):
        training.advance()

    first, other = encoders(jointly.network), encoders(apart.network)
    assert not torch.allclose(first[0], other[0])
    assert torch.allclose(first[2], other[2])


def test_the_decoder_s_patches_stay_short() -> None:
    training = small_training(rate=0.5)
    for _ in range(5):
        training.advance()
        for name, weight in training.weights().items():
            assert "decoder" not in name or float(weight.norm(dim=2).max()) <= 1 + 1e-6


@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_samples_are_patches_of_the_first_stage(count: int) -> None:
    training = small_training()

    patches = training.samples(count)

    places = 5 * 5 * 3  # filters of the first stage
    assert patches.shape == (min(count, places), 4, 4, 1)
    assert patches.dtype == np.uint8


def test_losses_have_names_for_every_stage() -> None:
    assert list(small_training().advance()) == [
        *("reconstruction1", "sparsity1", "reconstruction2", "sparsity2", "reconstruction3", "sparsity3"),
    ]


def test_a_loss_that_is_not_finite_ends_the_run_in_words() -> None:
    training = small_training()
    training.advance()
    with torch.no_grad():
        training.network.first_stage.filters.weight[0, 0] = math.nan

    with pytest.raises(DivergedError, match=r"after 8 images a loss is no longer finite \(reconstruction1 nan"):
        training.advance()


def test_numbers_must_be_given_for_every_stage() -> None:
    with pytest.raises(RecipeError, match=r"one number for each stage: maps has 2, receptive_fields has 3"):
        small_autoencoder_recipe(maps="8,8")


def test_fields_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = small_autoencoder_recipe(receptive_fields=(4, 5, 2))

    with pytest.raises(DataError, match="stage 2 on 4x4 places: 4 maps of fields of 5, 1 apart, do not fit"):
        train(recipe, blobs(side=12), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_the_state_of_another_network_is_refused() -> None:
    with pytest.raises(RunError, match="the saved state does not fit the recipe's network"):
        small_training().restore(small_training(maps=(2, 4, 5)).state(), 8)


def test_labels_have_no_part_in_it() -> None:
    data = blobs(side=12)
    shuffled = type(data)(data.images, data.labels[::-1].copy(), data.classes)
    one, other = training_on(data), training_on(shuffled)

    assert one.advance() == other.advance()
    assert one.accuracy(data) is None
