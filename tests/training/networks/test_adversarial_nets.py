"""The pair of the first GAN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.layers import Maxout
from training.networks.adversarial_nets import Discriminator, Generator


def small_generator() -> Generator:
    return Generator(latent_size=5, widths=(9, 7), image_shape=(3, 4, 6))


def small_discriminator() -> Discriminator:
    return Discriminator(image_shape=(1, 4, 4), units=(6, 5), pieces=3)


def test_the_defaults_are_the_sizes_of_the_paper() -> None:
    generator = Generator(latent_size=100, image_shape=(1, 28, 28))
    discriminator = Discriminator(image_shape=(1, 28, 28))

    assert [layer.weight.shape for layer in generator.modules() if isinstance(layer, nn.Linear)] == [
        (1200, 100),
        (1200, 1200),
        (784, 1200),
    ]
    assert [layer.weight.shape for layer in discriminator.modules() if isinstance(layer, nn.Linear)] == [
        (5 * 240, 784),
        (5 * 240, 240),
        (1, 240),
    ]
    assert [layer.pieces for layer in discriminator.modules() if isinstance(layer, Maxout)] == [5, 5]
    assert [dropout.share for dropout in discriminator.dropouts] == pytest.approx([0.2, 0.5, 0.5])


@pytest.mark.parametrize(
    ("network", "weight_range"),
    [(Generator(latent_size=50, image_shape=(1, 28, 28)), 0.05), (Discriminator(image_shape=(1, 28, 28)), 0.005)],
)
def test_first_weights_are_uniform_and_first_biases_zero(network: nn.Module, weight_range: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.abs().max().item() <= weight_range * (1 + 1e-6)
            assert layer.weight.std().item() == pytest.approx(weight_range / 3**0.5, rel=0.1)
            assert not layer.bias.any()


def test_the_generator_draws_images_between_minus_one_and_one_each_by_its_latent() -> None:
    generator = small_generator()
    latents = 1000 * torch.randn(20, 5)

    images = generator(latents)

    assert images.shape == (20, 3, 4, 6)
    assert images.abs().max() <= 1
    torch.testing.assert_close(images[:1], generator(latents[:1]), atol=1e-6, rtol=0)


def test_initialisation_lets_the_latent_of_zeros_give_the_mean_image() -> None:
    torch.manual_seed(0)
    generator = small_generator()
    images = torch.rand(50, 3, 4, 6) * 2 - 1

    generator.initialise_from(images)

    torch.testing.assert_close(generator(torch.zeros(1, 5))[0], images.mean(0), atol=1e-5, rtol=0)


def test_pixels_that_are_always_black_or_white_get_finite_biases() -> None:
    generator = small_generator()
    images = torch.ones(50, 3, 4, 6)
    images[:, 0] = -1

    generator.initialise_from(images)

    assert torch.isfinite(generator.output.bias).all()
    torch.testing.assert_close(generator(torch.zeros(1, 5))[0], images[0], atol=1e-5, rtol=0)


def test_calibrating_leaves_the_images_as_they_are() -> None:
    generator = small_generator()
    latents = torch.randn(3, 5)
    before = generator(latents)

    generator.calibrate_statistics(latents)

    assert not generator.training
    assert torch.equal(generator(latents), before)


def test_the_discriminator_gives_one_logit_an_image_and_no_neighbour_matters() -> None:
    discriminator = small_discriminator()
    images = torch.rand(7, 1, 4, 4) * 2 - 1

    logits = discriminator(images)

    assert logits.shape == (7,)
    torch.testing.assert_close(logits[:1], discriminator(images[:1]))


def test_dropout_is_on_only_where_a_generator_for_it_is_given() -> None:
    discriminator = small_discriminator()
    images = torch.rand(7, 1, 4, 4) * 2 - 1

    drawn = discriminator(images, torch.Generator().manual_seed(1))

    assert torch.equal(discriminator(images), discriminator(images))
    assert torch.equal(drawn, discriminator(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, discriminator(images))


def test_the_discriminator_sees_pixels_from_zero_to_one() -> None:
    discriminator = small_discriminator()

    black = discriminator(-torch.ones(1, 1, 4, 4))

    assert black.item() == 0.0  # all pixels are 0, and so are the biases


def test_constraining_shortens_long_weight_vectors_alone() -> None:
    discriminator = small_discriminator()
    with torch.no_grad():
        discriminator.output.weight.fill_(10.0)
    short = discriminator.hidden[0].get_parameter("linear.weight").clone()

    discriminator.constrain(1.9365)

    assert discriminator.output.weight.norm().item() == pytest.approx(1.9365, rel=1e-4)
    assert torch.equal(discriminator.hidden[0].get_parameter("linear.weight"), short)
