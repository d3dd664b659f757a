"""What any family of recipes trains can be packed and served."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.archive import pack
from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.model import Model, load
from handlers.errors import ArchiveError
from handlers.operations.direct import answers, generate
from handlers.operations.judging import Judge
from handlers.operations.sampler import Sampler
from handlers.protocol.formulas import Formulas, Mean, Part, SampleLatent, Slerp, Truncate, Vector
from handlers.protocol.requests import Answer, Canary, Draw, Failure, Generate
from tests.support.direct import classify, classify_with_features
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe, small_recipe, small_student_recipe
from training.data import LabelledImages
from training.distillation import distil
from training.loop.loop import train
from training.networks.pair import Pair
from training.recipes import RECIPES, Kind, Recipe, StudentRecipe

CONDITIONAL = small_dcgan_recipe(conditional="yes")
CONV: dict[str, object] = {
    "images": 16,
    "labels": 6,
    "labelled_batch": 4,
    "unlabelled_batch": 8,
    "initialise_images": 20,
    "generator_widths": (8, 6, 4),
    "discriminator_widths": (4, 6),
}
GENERATORS = [
    small_adversarial_recipe(),
    small_dcgan_recipe(),
    CONDITIONAL,
    small_recipe(generator_norm="virtual"),
    RECIPES["ssgan-conv32"].overridden(CONV),
]
CLASSIFIERS = [
    small_recipe(minibatch_kernels=3, generator_loss="non-saturating"),
    RECIPES["ssgan-conv32"].overridden(CONV),
    small_student_recipe(),
]


def served(recipe: Recipe, kind: Kind, folder: Path) -> Model:
    """Train a recipe on 32 x 32 pixels, pack one of its networks and load it."""
    if not (folder / "run").exists():
        trained(recipe, blobs(side=32), folder / "run")
    packed = pack(folder / "run", kind, folder / f"{kind}.mar", micro_batch=4)
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(folder / kind)
    return load(folder / kind, kind, torch.device("cpu"))


def trained(recipe: Recipe, data: LabelledImages, run: Path) -> None:
    """Train a recipe, a student with a teacher of its own."""
    if not isinstance(recipe, StudentRecipe):
        train(recipe, data, run)
        return
    train(small_recipe(), data, run.with_name("teacher"))
    distil(recipe, run.with_name("teacher"), data, run)


def drawn_by(model: Model, requests: Sequence[Draw | Generate]) -> list[NDArray[np.uint8]]:
    """The images of requests that must succeed."""
    found = answers(Sampler(model, 10**6), requests)
    return [answer.tensors["images"] for answer in found if isinstance(answer, Answer)]


@pytest.mark.parametrize("recipe", GENERATORS, ids=lambda recipe: recipe.name)
def test_a_sample_of_any_generator_is_the_same_whatever_it_is_asked_with(recipe: Recipe, tmp_path: Path) -> None:
    model = served(recipe, "generator", tmp_path)

    [whole, part] = generate(model, [Generate(5, 0, 14), Generate(5, 3, 7)])

    assert not isinstance(whole, Failure)
    assert not isinstance(part, Failure)
    assert whole.shape == (14, 32, 32, 1)
    assert np.array_equal(part, whole[3:10])
    samples = tuple(SampleLatent(5, index) for index in (3, 0, 13, 4))
    parts: tuple[Part, ...] = (*samples, Mean((0, 1)), Slerp((2, 3), 0.25), Truncate((5,), 0.5))
    for free in {model.sizes.free, False}:
        sized = model if free == model.sizes.free else dataclasses.replace(model, sizes=fixed(4))
        [drawn] = drawn_by(sized, [Draw(Formulas(parts, tuple(range(7))))])
        assert np.array_equal(drawn[:4], whole[[3, 0, 13, 4]])
        for number in range(7):
            [alone] = drawn_by(sized, [Draw(Formulas(parts, (number,)))])
            assert np.array_equal(alone[0], drawn[number])


def test_sample_i_of_a_conditional_generator_shows_class_i_mod_k(tmp_path: Path) -> None:
    model = served(CONDITIONAL, "generator", tmp_path)
    asked: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[1]))

    generate(model, [Generate(5, 0, 4), Generate(5, 2**63 - 4, 4)])

    assert asked[0].tolist() == [0, 1, 2, 0]
    assert asked[1].tolist() == [(2**63 - 4 + row) % 3 for row in range(4)]


@pytest.mark.parametrize("recipe", GENERATORS, ids=lambda recipe: recipe.name)
def test_the_discriminator_of_any_run_is_packed_with_its_generator(recipe: Recipe, tmp_path: Path) -> None:
    discriminator = served(recipe, "discriminator", tmp_path)
    generator = served(recipe, "generator", tmp_path)

    assert discriminator.run_digest == generator.run_digest
    assert discriminator.precision == "float32"
    pair = discriminator.plain.network
    assert isinstance(pair, Pair)
    own = generator.plain.network.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in pair.generator.state_dict().items())
    [answer] = answers(Judge(discriminator, 2**30), [Canary()])
    assert isinstance(answer, Answer)


def test_a_drawn_latent_has_the_class_that_is_said_or_that_of_its_first_sample(tmp_path: Path) -> None:
    loaded = served(CONDITIONAL, "generator", tmp_path)
    parts = SampleLatent(5, 4), SampleLatent(5, 5), Mean((1, 0)), Vector((0.5,) * loaded.config.latent_size)
    formulas = Formulas(parts, (0, 1, 2, 3))
    for sizes in (BatchSizes(4, (4,), free=True), fixed(4)):
        model = dataclasses.replace(loaded, sizes=sizes)
        own, first, second, of_sample = drawn_by(
            model,
            [
                Draw(formulas),
                Draw(formulas, class_index=0),
                Draw(formulas, class_index=1),
                Draw(formulas, class_sample=7),
            ],
        )
        [samples] = drawn_by(model, [Generate(5, 4, 2)])
        assert np.array_equal(own[:2], samples), "4 shows class 1, and 5 class 2"
        assert np.array_equal(own[0], second[0]) and np.array_equal(own[3], first[3])
        assert np.array_equal(of_sample, second)
        assert not np.array_equal(own[2], second[2]) and not np.array_equal(first, second)
        [failure] = answers(Sampler(model, 10**6), [Draw(formulas, class_index=3)])
        assert failure == Failure("invalid", "class must be below 3, not 3")


@pytest.mark.parametrize("recipe", CLASSIFIERS, ids=lambda recipe: recipe.name)
def test_an_image_gets_the_same_class_whatever_its_neighbours_show(recipe: Recipe, tmp_path: Path) -> None:
    model = served(recipe, "classifier", tmp_path)
    images = blobs(8, side=32, seed=3).images

    together, generated = classify(model, images)
    alone = np.concatenate([classify(model, image[None])[0] for image in images])

    assert together.shape == (8, 3)
    assert generated.shape == (8,)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    *judged, features = classify_with_features(model, images)
    assert features.shape == (8, model.features) and model.features > 0
    assert np.array_equal(judged[0], together) and np.array_equal(judged[1], generated)


def test_a_run_without_a_classifier_is_not_packed_as_one(tmp_path: Path) -> None:
    train(small_adversarial_recipe(), blobs(), tmp_path / "run")

    with pytest.raises(ArchiveError, match=r"^gan-mnist trains no classifier"):
        pack(tmp_path / "run", "classifier", tmp_path / "classifier.mar")
