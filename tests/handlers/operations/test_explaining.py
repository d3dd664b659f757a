"""Every kind of model that takes images is explained: guided gradients of each unit, and where maps are excited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.compute.model import Model, from_run
from handlers.errors import RequestError
from handlers.operations.classification import Classifier
from handlers.operations.detection import Detector
from handlers.operations.direct import answers
from handlers.operations.judging import Judge
from handlers.protocol.requests import Answer, Classify, Explain, Failure, MapTarget, NeuronTarget, Peaks, Request
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe, small_recipe
from training.loop.loop import train
from training.recipes import RECIPES, Recipe

CPU = torch.device("cpu")
CONV = RECIPES["ssgan-conv32"].overridden(
    {
        "images": 16,
        "labels": 6,
        "labelled_batch": 4,
        "unlabelled_batch": 8,
        "initialise_images": 20,
        "generator_widths": (8, 6, 4),
        "discriminator_widths": (4, 6),
    }
)
DISCRIMINATORS = [
    small_dcgan_recipe(),
    small_dcgan_recipe(conditional="yes"),
    small_dcgan_recipe(discriminator_activation="prelu"),
    small_adversarial_recipe(),
    small_recipe(),
    CONV,
]


def trained(recipe: Recipe, folder: Path, kind: Any = "discriminator") -> Model:
    train(recipe, blobs(side=32), folder / "run")
    return from_run(folder / "run", kind, CPU, micro_batch=4)


def ask(operations: Any, *requests: Any) -> list[dict[str, NDArray[Any]]]:
    found = answers(operations, [operations.check(request) for request in requests])
    assert all(isinstance(each, Answer) for each in found), found
    return [dict(each.tensors) for each in found if isinstance(each, Answer)]


def pictures(count: int = 6) -> NDArray[np.uint8]:
    return blobs(count, side=32, seed=4).images


@pytest.mark.parametrize("recipe", DISCRIMINATORS, ids=lambda recipe: recipe.name)
def test_any_discriminator_is_explained_each_image_alone(recipe: Recipe, tmp_path: Path) -> None:
    model, images = trained(recipe, tmp_path), pictures()

    [whole, part, baseline, a_map] = ask(
        Judge(model, 10**7),
        Explain(images),
        Explain(images[4:5]),
        Explain(images, random=True),
        Explain(images, MapTarget(1, 2)),
    )

    assert whole["gradients"].shape == images.shape and whole["gradients"].dtype == np.float32
    np.testing.assert_allclose(whole["gradients"][4:5], part["gradients"], rtol=1e-4, atol=1e-7)
    assert float(np.abs(whole["gradients"]).max()) > 0
    assert not np.allclose(whole["gradients"], baseline["gradients"])
    assert a_map["activations"].shape == (6,)


def test_the_value_of_a_discriminator_is_its_logit(tmp_path: Path) -> None:
    model, images = trained(small_dcgan_recipe(), tmp_path), pictures()
    pair: Any = model.plain.network
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    [found] = ask(Judge(model, 10**7), Explain(images))

    np.testing.assert_allclose(found["activations"], pair.discriminator(inputs).numpy(), atol=1e-5)


def test_a_conditional_discriminator_is_explained_by_the_class_that_suits_best(tmp_path: Path) -> None:
    model, images = trained(small_dcgan_recipe(conditional="yes"), tmp_path), pictures()

    [best, *each] = ask(Judge(model, 10**7), Explain(images), *(Explain(images, label) for label in range(3)))

    values = np.stack([found["activations"] for found in each])
    np.testing.assert_allclose(best["activations"], values.max(axis=0), atol=1e-5)
    chosen = np.stack([found["gradients"] for found in each])[values.argmax(axis=0), np.arange(6)]
    np.testing.assert_allclose(best["gradients"], chosen, atol=1e-6)


def test_a_classifier_is_explained_by_its_most_probable_class(tmp_path: Path) -> None:
    model, images = trained(CONV, tmp_path, "classifier"), pictures()
    classifier = Classifier(model, 10**7)

    [found, classes] = ask(classifier, Explain(images), Classify(images))
    best = classes["probabilities"].argmax(axis=1)
    each = ask(classifier, *(Explain(images, int(label)) for label in best))

    for number, one in enumerate(each):
        np.testing.assert_allclose(found["gradients"][number], one["gradients"][number], atol=1e-6)


def test_an_autoencoder_is_explained_unit_by_unit(neurons: Model) -> None:
    height, width, channels = neurons.image_shape
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
    detector = Detector(neurons, 10**7)

    [high, low] = ask(detector, Explain(images, NeuronTarget(1, 7)), Explain(images, NeuronTarget(1, 7, -1)))

    np.testing.assert_allclose(low["gradients"], -high["gradients"])
    np.testing.assert_allclose(low["activations"], high["activations"])
    with pytest.raises(RequestError, match="unit by unit"):
        detector.check(Explain(images))
    with pytest.raises(RequestError, match="no unit 0 of a stage 9"):
        detector.check(Explain(images, NeuronTarget(9, 0)))


def test_peaks_are_where_a_map_is_excited_most(tmp_path: Path) -> None:
    model, images = trained(small_dcgan_recipe(), tmp_path), np.full((5, 32, 32, 1), 128, np.uint8)
    place = 12
    images[2, place : place + 4, place : place + 4] = 255

    [found] = ask(Judge(model, 10**7), Peaks(images, 2))

    maps = model.layers[1][0]
    assert found["values"].shape == (5, maps) and found["boxes"].shape == (5, maps, 4)
    moved = np.abs(found["values"][2] - found["values"][0]) > 1e-6
    assert moved.any()
    for left, top, width, height in found["boxes"][2][found["values"][2] > found["values"][0] + 1e-6]:
        assert left < place + 4 and left + width > place and top < place + 4 and top + height > place


def test_what_cannot_be_explained_is_refused(tmp_path: Path) -> None:
    judge = Judge(trained(small_adversarial_recipe(), tmp_path), 10**5)
    images = pictures()

    refused: list[tuple[Request, str]] = [
        (Explain(images[:, :16]), "images must be"),
        (Explain(images, 0), "0 classes, and none 0"),
        (Explain(images, MapTarget(3, 0)), "layer must be from 1 to 2"),
        (Explain(images, MapTarget(1, 6)), "layer 1 has 6 maps, and none 6"),
        (Explain(np.repeat(images, 10, axis=0)), "too large"),
        (Classify(images), "is a discriminator: it cannot classify"),
    ]
    for request, text in refused:
        with pytest.raises(RequestError, match=text):
            judge.check(request)
    [failure] = answers(judge, [Peaks(images, 1)])
    assert isinstance(failure, Failure) and "fully connected" in failure.message
