"""Directions from weights: those that were planted in a first layer are found, in every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from handlers.compute.inside.first_layer import first_layer, weight_directions
from handlers.compute.latents import DEVIATIONS
from training.networks import adversarial_nets, dcgan, improved_gan, improved_gan_conv

Z = 6
SIZES = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.25])


def planted(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix [outputs, Z] with known singular vectors, and those vectors as rows."""
    random = np.random.default_rng(5)
    left, _ = np.linalg.qr(random.normal(size=(outputs, Z)))
    right, _ = np.linalg.qr(random.normal(size=(Z, Z)))
    return left * SIZES @ right.T, right.T


def check(generator: nn.Module, vectors: np.ndarray, *, classes: int = 0) -> None:
    found = weight_directions(generator.eval(), Z, "uniform11", classes=classes)
    assert np.abs(found.vectors @ vectors.T) == pytest.approx(np.eye(Z) * DEVIATIONS["uniform11"], abs=1e-4)
    assert found.strengths == pytest.approx((SIZES / SIZES[0]) ** 2, rel=1e-4)
    largest = found.vectors[np.arange(Z), np.abs(found.vectors).argmax(axis=1)]
    assert (largest > 0).all()


@pytest.mark.parametrize("classes", [0, 3])
def test_of_a_dcgan(classes: int) -> None:
    generator = dcgan.Generator(latent_size=Z, width=4, image_shape=(1, 32, 32), classes=classes)
    matrix, vectors = planted(16 * 16)
    with torch.no_grad():
        generator.norms[0].weight.fill_(1.7)  # type: ignore[operator]
        generator.project.weight[:Z] = torch.from_numpy(matrix.T.reshape(Z, 16, 4, 4)).float()
    check(generator, vectors, classes=classes)


def test_of_the_first_gan_whatever_scale_its_latents_have() -> None:
    generator = adversarial_nets.Generator(latent_size=Z, widths=(30, 20), image_shape=(1, 8, 8), latent_scale=1.7)
    matrix, vectors = planted(30)
    with torch.no_grad():
        generator.hidden[0].weight.copy_(torch.from_numpy(matrix))  # type: ignore[operator]
    check(generator, vectors)


def test_of_the_generators_of_the_k_plus_1_gan() -> None:
    matrix, vectors = planted(30)
    digits = improved_gan.Generator(latent_size=Z, widths=(30, 20), image_shape=(1, 8, 8))
    with torch.no_grad():
        digits.hidden[0].weight.copy_(torch.from_numpy(matrix))  # type: ignore[operator]
    check(digits, vectors)
    matrix, vectors = planted(4 * 16)
    photographs = improved_gan_conv.Generator(latent_size=Z, widths=(4, 3, 2), image_shape=(3, 32, 32))
    with torch.no_grad():
        photographs.project.weight.copy_(torch.from_numpy(matrix))
    check(photographs, vectors)


def test_a_normalisation_that_makes_some_outputs_larger_counts() -> None:
    generator = dcgan.Generator(latent_size=Z, width=4, image_shape=(1, 32, 32)).eval()
    plain = first_layer(generator, Z, "uniform11")
    with torch.no_grad():
        generator.norms[0].running_var[3] = 1 / 16  # type: ignore[operator]
    scaled = first_layer(generator, Z, "uniform11")
    rows = np.arange(16).repeat(16) == 3  # those of map 3
    assert scaled[rows] == pytest.approx(4 * plain[rows], rel=1e-3)
    assert scaled[~rows] == pytest.approx(plain[~rows], rel=1e-9)


def test_virtual_batch_normalisation_is_taken_at_the_centre_of_the_latents() -> None:
    generator = improved_gan.Generator(latent_size=Z, widths=(30, 20), image_shape=(1, 8, 8), norm="virtual")
    generator.calibrate_statistics(torch.zeros(1, Z))
    found = weight_directions(generator, Z, "uniform01")
    assert np.isfinite(found.vectors).all() and found.strengths[0] == 1.0
    assert (np.diff(found.strengths) <= 0).all()
