"""Neurons say what the network computes, and an answer does not depend on what else is asked."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from handlers.archive import pack
from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.model import Model, load
from handlers.errors import ArchiveError, RequestError
from handlers.operations.detection import Detector
from handlers.operations.direct import answers
from handlers.operations.images import ImageWork
from handlers.operations.work import Piece
from handlers.protocol.images import from_pixels, to_pixels
from handlers.protocol.requests import Activate, Answer, Canary, Classify, Detect, Failure, Reconstruct, Stimulate
from tests.support.direct import activations, detect, reconstruct
from tests.support.runs import CONCEPTS, concept, tiny_autoencoder
from training.errors import RunError
from training.networks.sparse_autoencoder import SparseAutoencoder

CPU = torch.device("cpu")


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 12, 12, 1), dtype=np.uint8)


def names(model: Model) -> list[str]:
    return [concept.name for concept in model.concepts]


def network_of(model: Model) -> SparseAutoencoder:
    assert isinstance(model.network, SparseAutoencoder)
    return model.network


def answer_to(model: Model, request: Stimulate | Detect | Activate | Reconstruct | Canary) -> Answer:
    [found] = answers(Detector(model, 10**6), [request])
    assert isinstance(found, Answer)
    return found


def test_activations_are_those_of_the_network(neurons: Model) -> None:
    images = some_images(11)
    expected = network_of(neurons)(from_pixels(images, CPU))
    for stage, units in enumerate(expected, start=1):
        np.testing.assert_allclose(activations(neurons, images, stage, ()), units.flatten(1), atol=1e-5)
    few = activations(neurons, images, 2, (7, 0, 7))
    assert np.array_equal(few, activations(neurons, images, 2, ())[:, [7, 0, 7]])
    assert few.dtype == np.float32


def test_decisions_and_confidences_follow_each_concepts_own_sign_and_threshold(neurons: Model) -> None:
    images = some_images(9)
    found = detect(neurons, images, names(neurons))
    assert found["activations"].shape == found["detected"].shape == found["confidences"].shape == (9, 2)
    for column, each in enumerate(CONCEPTS):
        values = activations(neurons, images, each.stage, (each.unit,))[:, 0].astype(np.float64)
        assert np.array_equal(found["activations"][:, column], values.astype(np.float32))
        assert np.array_equal(found["detected"][:, column], each.sign * values > each.threshold)
        score = each.slope * (each.sign * values - each.threshold) + each.intercept
        np.testing.assert_allclose(found["confidences"][:, column], 1 / (1 + np.exp(-score)), atol=1e-6)


def test_features_are_the_means_of_the_top_stages_maps(neurons: Model) -> None:
    images = some_images(9)
    found = detect(neurons, images, names(neurons), features=True)
    expected = network_of(neurons)(from_pixels(images, CPU))[-1].mean(dim=(2, 3))
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    assert found["features"].shape == (9, neurons.features) and neurons.features > 0
    for name, values in detect(neurons, images, names(neurons)).items():
        assert np.array_equal(found[name], values)


def test_an_image_activates_alike_whatever_its_neighbours_show(neurons: Model) -> None:
    images = some_images(8)
    changed = images.copy()
    changed[np.arange(8) != 3] = 255 - changed[np.arange(8) != 3]
    assert np.array_equal(activations(neurons, images, 3, ())[3], activations(neurons, changed, 3, ())[3])
    whole = activations(neurons, some_images(21), 3, ())
    for count in (1, 7, 8, 9, 20):
        assert np.array_equal(activations(neurons, some_images(21)[:count], 3, ()), whole[:count])


def test_reconstructions_are_those_of_the_network(neurons: Model) -> None:
    images = some_images(10)
    expected = to_pixels(network_of(neurons).reconstruct(from_pixels(images, CPU)))
    found = reconstruct(neurons, images)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_the_optimal_stimulus_stimulates_more_than_noise_and_is_repeatable(neurons: Model) -> None:
    request = Stimulate(stage=2, unit=7, sign=1, seed=2**64 - 1, steps=20)
    first, second = answer_to(neurons, request), answer_to(neurons, request)
    assert np.array_equal(first.tensors["image"], second.tensors["image"])
    assert first.tensors["image"].shape == (12, 12, 1)
    noise = activations(neurons, some_images(64), 2, (7,))
    assert first.tensors["activation"][0] > noise.max()
    low = answer_to(neurons, dataclasses.replace(request, sign=-1))
    assert low.tensors["activation"][0] < noise.min()


def test_the_canary_is_a_real_forward_pass_and_detect_answers_in_the_order_of_the_names(neurons: Model) -> None:
    assert answer_to(neurons, Canary()) == Answer()
    images = some_images(3)
    one = answer_to(neurons, Detect(images, ("dots", "bars"))).tensors["activations"]
    other = answer_to(neurons, Detect(images, ("bars", "dots"))).tensors["activations"]
    assert np.array_equal(one, other[:, ::-1])


class NotANumber(SparseAutoencoder):
    """An autoencoder that breaks on dark images."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """NaN where an image is dark."""
        return [units * images.mean(dim=(1, 2, 3)).sqrt().view(-1, 1, 1, 1) for units in super().forward(images)]


def test_an_activation_that_is_not_finite_fails_that_request_only(neurons: Model) -> None:
    network = network_of(neurons)
    network.__class__ = NotANumber
    detector = Detector(dataclasses.replace(neurons, sizes=fixed(1)), 10**6)
    dark, bright = np.zeros((1, 12, 12, 1), np.uint8), np.full((1, 12, 12, 1), 255, np.uint8)
    first, second = answers(detector, [Activate(dark, 1, ()), Activate(bright, 1, ())])
    assert first == Failure("error", "the model's activations are not finite")
    assert isinstance(second, Answer)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Classify(some_images(1)), "cannot classify"),
        (Detect(np.zeros((1, 6, 5, 1), np.uint8), ("dots",)), "12 x 12 x 1, not 6 x 5 x 1"),
        (Detect(some_images(1), ("cat",)), r"concepts must be some of \['dots', 'bars'\], not \['cat'\]"),
        (Detect(some_images(1), ()), "concepts must be some of"),
        (Activate(some_images(1), 4, ()), "stage must be from 1 to 3, not 4"),
        (Activate(some_images(1), 3, (0, 10**6)), "a unit of stage 3 must be from 0 to"),
        (Activate(some_images(40), 1, ()), "images times units must be at most"),
        (Stimulate(stage=1, unit=10**6, sign=1, seed=0, steps=1), "a unit of stage 1 must be"),
    ],
)
def test_a_request_that_cannot_be_answered_hears_why(neurons: Model, request_: Detect, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Detector(neurons, 20_000).check(request_)


def test_an_archive_holds_its_concepts_and_describes_its_stages(neurons: Model, neurons_folder: Path) -> None:
    assert neurons.concepts == CONCEPTS
    assert (neurons_folder / "concepts.json").exists()
    assert neurons.description["stages"] == [list(shape) for shape in network_of(neurons).unit_shapes]
    assert (neurons.description["kind"], neurons.description["classes"]) == ("neurons", [])


def test_a_run_without_concepts_can_be_packed_and_still_shows_activations(tmp_path: Path) -> None:
    packed = pack(tiny_autoencoder(tmp_path / "run", concepts=()), "neurons", tmp_path / "a.mar", micro_batch=4)
    with zipfile.ZipFile(packed.path) as archive:
        assert "concepts.json" not in archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    model = load(tmp_path / "unpacked", "neurons", CPU)
    assert model.concepts == ()
    assert activations(model, some_images(3), 1, ()).shape[0] == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"stage": 4}, "unit 7 of stage 4; the network's stages have"),
        ({"unit": 10_000}, "unit 10000 of stage 2"),
        ({"unit": 1.5}, "one of its numbers is impossible"),
        ({"accuracy": float("nan")}, "one of its numbers is impossible"),
        ({"positives": "many"}, "damaged|impossible"),
    ],
)
def test_a_concept_that_does_not_fit_its_network_is_not_packed(
    tmp_path: Path, bad: dict[str, object], message: str
) -> None:
    run = tiny_autoencoder(tmp_path / "run", concepts=(concept("dots"),))
    values = json.loads((run / "concepts.json").read_text())
    values["concepts"][0].update(bad)
    (run / "concepts.json").write_text(json.dumps(values))
    with pytest.raises(ArchiveError, match=message):
        pack(run, "neurons", tmp_path / "a.mar")
    assert not (tmp_path / "a.mar").exists()


def test_a_run_of_another_recipe_has_no_neurons_to_pack(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="trains no autoencoder, and has no neurons"):
        pack(run, "neurons", tmp_path / "a.mar")
    with pytest.raises((ArchiveError, RunError)):
        pack(tiny_autoencoder(tmp_path / "run"), "generator", tmp_path / "a.mar")


def test_images_whose_passes_end_in_another_order_keep_their_own_answers(neurons: Model) -> None:
    free = dataclasses.replace(neurons, sizes=BatchSizes(8, (8,), free=True))
    request = Activate(some_images(16), 2, ())
    work = Detector(free, 10**6).begin(request)
    assert isinstance(work, ImageWork)
    for rows in (range(8, 16), range(0, 8)):
        work.passes.compute([Piece(work, rows)], 8)
    found, expected = work.answer(), answer_to(free, request)
    assert isinstance(found, Answer)
    assert np.array_equal(found.tensors["activations"], expected.tensors["activations"])
