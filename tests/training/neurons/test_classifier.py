from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.neurons.fakes import faces, others, small_autoencoder_recipe
from training.batches import to_tensor
from training.data import LabelledImages
from training.errors import DataError, RecipeError, RunError
from training.families import family_of
from training.loop.loop import train
from training.networks.neuron_classifier import NeuronClassifier
from training.neurons.activations import activations_of, load_autoencoder_run
from training.neurons.classifier import accuracy, classify_run
from training.neurons.linear import logistic
from training.recipes import NeuronClassifierRecipe, recipe_named
from training.runs.checkpoint import load_run, served_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(small_autoencoder_recipe(), LabelledImages(others(300), np.full(300, -1), (), "drawn"), folder)
    return folder


def labelled(count: int, *, seed: int) -> LabelledImages:
    images = np.concatenate([faces(count, seed=seed), others(count, seed=seed)])
    return LabelledImages(images, np.repeat([0, 1], count), ("face", "other"), "drawn")


def recipe(**fields: object) -> NeuronClassifierRecipe:
    made = recipe_named("neuron-classifier").overridden(fields)
    assert isinstance(made, NeuronClassifierRecipe)
    return made


def test_a_classifier_is_written_that_knows_the_classes_and_no_generator(run: Path, tmp_path: Path) -> None:
    test = labelled(40, seed=3)

    outcome = classify_run(
        load_autoencoder_run(run), labelled(80, seed=2), tmp_path / "out", recipe=recipe(), test=test
    )

    assert outcome.test_accuracy == outcome.linear_accuracy
    assert outcome.test_accuracy is not None
    assert outcome.test_accuracy > 0.8
    loaded = load_run(tmp_path / "out")
    network = family_of(loaded.config).classifier()
    network.load_state_dict(served_weights(loaded, "classifier"))
    assert isinstance(network, NeuronClassifier)
    with torch.inference_mode():
        logits = network.eval()(to_tensor(test.images))
    with torch.inference_mode():
        again, features = network.logits_and_features(to_tensor(test.images))
    assert torch.equal(again, logits)
    assert features.shape == (80, network.feature_count)
    assert (logits.argmax(1).numpy() == test.labels).mean() == pytest.approx(outcome.test_accuracy)
    assert torch.allclose(logits.exp().sum(1), torch.ones(80))
    assert json.loads((tmp_path / "out" / "metrics.jsonl").read_text()) == dataclasses.asdict(outcome)
    card = (tmp_path / "out" / "card.md").read_text()
    assert "p(generated) is 1/2 for every image" in card
    assert f"{100 * outcome.test_accuracy:.2f} % of 80 images" in card


def test_a_class_is_scored_by_its_own_regression(run: Path, tmp_path: Path) -> None:
    data, trained = labelled(30, seed=2), load_autoencoder_run(run)
    units = activations_of(trained.network, data.images)[-1]

    classify_run(trained, data, tmp_path / "out", recipe=recipe())

    loaded = load_run(tmp_path / "out")
    weights = served_weights(loaded, "classifier")
    scores = units @ weights["linear.weight"].numpy().T + weights["linear.bias"].numpy()
    for label in (0, 1):
        expected = logistic(cost=0.1).fit(units, data.labels == label).decision_function(units)
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-3)


def test_fine_tuning_moves_the_whole_network_the_same_way_for_a_seed(run: Path, tmp_path: Path) -> None:
    data = labelled(60, seed=2)
    weights = []
    for name in ("one", "two"):
        trained = load_autoencoder_run(run)
        tuned = classify_run(trained, data, tmp_path / name, recipe=recipe(passes=3, tuning_rate=1e-3), test=data)
        weights.append(served_weights(load_run(tmp_path / name), "classifier"))

    assert tuned.train_accuracy >= (tuned.linear_accuracy or 1)
    first = "autoencoder.stages.0.filters.weight"
    assert torch.equal(weights[0][first], weights[1][first])
    assert not torch.equal(weights[0][first], load_autoencoder_run(run).network.state_dict()[first.partition(".")[2]])


def test_without_test_images_nothing_is_said_of_their_accuracy(run: Path, tmp_path: Path) -> None:
    outcome = classify_run(load_autoencoder_run(run), labelled(20, seed=2), tmp_path / "out", recipe=recipe())

    assert (outcome.test_accuracy, outcome.test_images) == (None, 0)
    assert "not measured" in (tmp_path / "out" / "card.md").read_text()


def test_what_cannot_be_classified_is_refused(run: Path, tmp_path: Path) -> None:
    trained, data = load_autoencoder_run(run), labelled(20, seed=2)
    one_class = dataclasses.replace(data, labels=np.zeros(40, np.int64))
    others_named = dataclasses.replace(data, classes=("a", "b"))
    large = dataclasses.replace(data, images=np.zeros((40, 20, 20, 3), np.uint8))

    with pytest.raises(DataError, match="two classes or more, some of each"):
        classify_run(trained, one_class, tmp_path / "out", recipe=recipe())
    with pytest.raises(DataError, match="other classes than the training images"):
        classify_run(trained, data, tmp_path / "out", recipe=recipe(), test=others_named)
    with pytest.raises(DataError, match="load them with its size and channels"):
        classify_run(trained, large, tmp_path / "out", recipe=recipe())
    with pytest.raises(RunError, match="exists and is not empty"):
        classify_run(trained, data, run, recipe=recipe())
    assert not (tmp_path / "out").exists()


def test_neurons_are_searched_in_the_autoencoder_and_not_in_its_classifier(run: Path, tmp_path: Path) -> None:
    classify_run(load_autoencoder_run(run), labelled(20, seed=2), tmp_path / "out", recipe=recipe())

    with pytest.raises(RecipeError, match="search the run of the autoencoder"):
        load_autoencoder_run(tmp_path / "out")


def test_accuracy_counts_every_image_once(run: Path, tmp_path: Path) -> None:
    classify_run(load_autoencoder_run(run), labelled(20, seed=2), tmp_path / "out", recipe=recipe())
    loaded = load_run(tmp_path / "out")
    network = family_of(loaded.config).classifier()
    network.load_state_dict(served_weights(loaded, "classifier"))
    told: list[int] = []

    found = accuracy(network.eval(), labelled(65, seed=5), report=told.append)  # type: ignore[arg-type]

    assert sum(told) == 130
    assert math.isclose(found * 130, round(found * 130))
