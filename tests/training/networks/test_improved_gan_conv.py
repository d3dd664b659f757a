"""The convolutional K+1 pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.errors import DataError, RecipeError
from training.layers import Dropout, GaussianNoise, WeightNormConv2d
from training.networks.improved_gan import Norm
from training.networks.improved_gan_conv import Discriminator, Generator


def small_discriminator(*, kernels: int = 0) -> Discriminator:
    return Discriminator(image_shape=(3, 32, 32), widths=(4, 6), classes=3, minibatch_kernels=kernels)


def small_generator(*, norm: Norm = "batch") -> Generator:
    return Generator(latent_size=5, widths=(8, 6, 4), image_shape=(3, 32, 32), norm=norm)


def some_images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32) * 2 - 1


def test_the_defaults_are_the_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        generator = Generator(latent_size=100, image_shape=(3, 32, 32))
        discriminator = Discriminator(image_shape=(3, 32, 32), classes=10)

    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, WeightNormConv2d)]
    assert [tuple(layer.direction.shape) for layer in convolutions] == [
        (96, 3, 3, 3),
        (96, 96, 3, 3),
        (96, 96, 3, 3),
        (192, 96, 3, 3),
        (192, 192, 3, 3),
        (192, 192, 3, 3),
        (192, 192, 3, 3),
        (192, 192, 1, 1),
        (192, 192, 1, 1),
    ]
    assert [layer.stride for layer in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
    assert [layer.padding for layer in convolutions] == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert [noise.share for noise in discriminator.noises if isinstance(noise, Dropout)] == [0.2, 0.5, 0.5]
    assert discriminator.output.direction.shape == (10, 192)
    assert generator.project.weight.shape == (4 * 4 * 512, 100)
    assert [tuple(layer.get_parameter("weight").shape) for layer in generator.hidden] == [
        (512, 256, 5, 5),
        (256, 128, 5, 5),
    ]
    assert generator.output.direction.shape == (128, 3, 5, 5)


def test_only_the_last_layer_of_the_discriminator_trains_its_scale() -> None:
    trained = [name for name, weight in small_discriminator().named_parameters() if weight.requires_grad]

    assert [name for name in trained if name.endswith(".scale")] == ["output.scale"]


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_the_generator_draws_images_between_minus_one_and_one(norm: Norm) -> None:
    images = small_generator(norm=norm)(10 * torch.randn(4, 5))

    assert images.shape == (4, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_a_sample_in_eval_mode_does_not_depend_on_its_neighbours(norm: Norm) -> None:
    generator = small_generator(norm=norm)
    generator.calibrate_statistics(torch.rand(50, 5))
    latents = torch.rand(6, 5)

    together, alone = generator(latents), generator(latents[:1])

    assert not generator.training
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


def test_with_virtual_batch_norm_samples_are_the_same_in_train_and_eval_mode() -> None:
    generator = small_generator(norm="virtual")
    latents = torch.rand(6, 5)
    trained = generator(latents)

    generator.calibrate_statistics(torch.rand(50, 5))

    torch.testing.assert_close(generator(latents), trained, atol=1e-5, rtol=0)


def test_calibrated_statistics_are_those_of_the_batch() -> None:
    generator = small_generator()
    latents = torch.rand(200, 5)
    generator(torch.rand(8, 5) * 9)  # leaves other statistics behind

    generator.calibrate_statistics(latents)

    calibrated = generator(latents)
    torch.testing.assert_close(calibrated, generator.train()(latents), atol=5e-3, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_first_samples_are_grey_with_a_deviation_of_a_tenth(norm: Norm) -> None:
    torch.manual_seed(0)
    generator = small_generator(norm=norm)
    latents = torch.rand(100, 5)

    generator.initialise_from(latents)

    before_tanh = torch.atanh(generator(generator.reference_latents if norm == "virtual" else latents))
    torch.testing.assert_close(before_tanh.mean((0, 2, 3)), torch.zeros(3), atol=0.01, rtol=0)
    torch.testing.assert_close(before_tanh.std((0, 2, 3)), torch.full((3,), 0.1), atol=0.01, rtol=0)


def test_the_discriminator_drops_only_where_a_generator_for_it_is_given() -> None:
    discriminator = small_discriminator()
    images = some_images(3)

    drawn = discriminator(images, torch.Generator().manual_seed(1))

    assert drawn.shape == (3, 3)
    assert torch.equal(discriminator(images), discriminator(images))
    assert torch.equal(drawn, discriminator(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, discriminator(images))


@pytest.mark.parametrize("kernels", [0, 6])
def test_initialisation_gives_logits_mean_zero_and_a_deviation_of_a_tenth(kernels: int) -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=kernels)
    images = some_images(60)

    discriminator.initialise_from(images, torch.Generator().manual_seed(1))

    logits = discriminator(images, torch.Generator().manual_seed(1))
    torch.testing.assert_close(logits.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(logits.std(0, correction=0), torch.full((3,), 0.1), atol=1e-3, rtol=0)


def test_initialisation_gives_every_hidden_unit_mean_zero_and_variance_one() -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator()
    seen: list[Tensor] = []
    for layer in discriminator.modules():
        if isinstance(layer, WeightNormConv2d):
            layer.register_forward_hook(lambda _layer, _inputs, outputs: seen.append(outputs))

    discriminator.initialise_from(some_images(60), torch.Generator().manual_seed(1))
    seen.clear()
    torch.manual_seed(0)
    discriminator(some_images(60))  # without noise, so only about

    assert len(seen) == 9
    for outputs in seen[:3]:
        assert outputs.mean((0, 2, 3)).abs().max() < 0.3
        assert (outputs.std((0, 2, 3)) - 1).abs().max() < 0.4


def test_features_are_the_means_of_the_last_maps() -> None:
    discriminator = small_discriminator()
    last: list[Tensor] = []
    layers = [layer for layer in discriminator.modules() if isinstance(layer, WeightNormConv2d)]
    layers[-1].register_forward_hook(lambda _layer, _inputs, outputs: last.append(outputs))

    features = discriminator.features(some_images(2))

    assert last[0].shape == (2, 6, 6, 6)
    torch.testing.assert_close(features, functional.leaky_relu(last[0], 0.2).mean((2, 3)))


def test_with_minibatch_discrimination_pixels_get_noise_in_place_of_dropout() -> None:
    discriminator = small_discriminator(kernels=6)

    assert isinstance(discriminator.noises[0], GaussianNoise)
    assert discriminator.noises[0].std == 0.2
    assert discriminator.features(some_images(2)).shape == (2, 6)
    assert discriminator.output.direction.shape == (3, 6 + 6)


@pytest.mark.parametrize("kernels", [0, 6])
def test_an_answer_does_not_depend_on_the_neighbours(kernels: int) -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=kernels)
    discriminator.initialise_from(some_images(30), torch.Generator())
    images = some_images(6)

    together, alone = discriminator(images), discriminator(images[:1])

    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def test_with_minibatch_discrimination_training_compares_the_images_of_a_batch() -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=6)
    discriminator.initialise_from(some_images(30), torch.Generator())
    images = some_images(8)

    together = discriminator(images, torch.Generator().manual_seed(1))
    crowded = torch.cat([images[:4], images[:1].expand(4, -1, -1, -1)])

    assert not torch.allclose(together[:1], discriminator(crowded, torch.Generator().manual_seed(1))[:1])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 32, 16)])
def test_images_of_other_sizes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=rf"images are {shape[1]} x {shape[2]} px.*32 x 32"):
        Generator(latent_size=5, image_shape=shape)
    with pytest.raises(DataError, match=rf"images are {shape[1]} x {shape[2]} px.*32 x 32"):
        Discriminator(image_shape=shape, classes=3)


def test_other_numbers_of_widths_are_refused() -> None:
    with pytest.raises(RecipeError, match="expected 3"):
        Generator(latent_size=5, widths=(8, 4), image_shape=(3, 32, 32))
    with pytest.raises(RecipeError, match="expected 2"):
        Discriminator(image_shape=(3, 32, 32), widths=(4,), classes=3)
