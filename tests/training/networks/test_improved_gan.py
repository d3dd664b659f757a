"""The K+1 pair."""

from __future__ import annotations

import torch

from training.checkpoint import RunConfig
from training.layers import WeightNormLinear
from training.networks import build_classifier, build_generator
from training.networks.improved_gan import Discriminator, Generator
from training.recipes import RECIPES


def published_config() -> RunConfig:
    recipe = RECIPES["ssgan-mnist"]
    return RunConfig(
        recipe=recipe.name,
        height=28,
        width=28,
        channels=1,
        classes=tuple("0123456789"),
        latent_size=recipe.latent_size,
        latent_distribution=recipe.latent_distribution,
        settings=recipe,
    )


def small_discriminator() -> Discriminator:
    return Discriminator(image_shape=(1, 4, 4), widths=(12, 8), classes=3, input_noise=0.3, hidden_noise=0.5)


def small_generator() -> Generator:
    return Generator(latent_size=5, widths=(9, 7), image_shape=(3, 4, 6))


def test_the_published_recipe_builds_the_networks_of_the_paper() -> None:
    generator, classifier = build_generator(published_config()), build_classifier(published_config())

    assert [layer.direction.shape for layer in classifier.modules() if isinstance(layer, WeightNormLinear)] == [
        (1000, 784),
        (500, 1000),
        (250, 500),
        (250, 250),
        (250, 250),
        (10, 250),
    ]
    assert [noise.std for noise in classifier.noises] == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert [layer.weight.shape for layer in generator.hidden] == [(500, 100), (500, 500)]
    assert generator.output.direction.shape == (784, 500)


def test_only_the_last_layer_of_the_discriminator_trains_its_scale() -> None:
    trained = [name for name, weight in small_discriminator().named_parameters() if weight.requires_grad]

    assert [name for name in trained if name.endswith("scale")] == ["output.scale"]


def test_the_generator_draws_images_between_minus_one_and_one() -> None:
    images = small_generator()(10 * torch.randn(20, 5))

    assert images.shape == (20, 3, 4, 6)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


def test_a_sample_in_eval_mode_does_not_depend_on_its_neighbours() -> None:
    generator = small_generator()
    generator.settle_statistics(torch.rand(200, 5))
    latents = torch.rand(6, 5)

    together, alone = generator(latents), generator(latents[:1])

    assert not generator.training
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


def test_settled_statistics_are_those_of_the_batch() -> None:
    generator = small_generator()
    latents = torch.rand(500, 5)
    generator(torch.rand(8, 5) * 9)  # leaves other statistics behind

    generator.settle_statistics(latents)

    settled = generator(latents)
    torch.testing.assert_close(settled, generator.train()(latents), atol=5e-3, rtol=0)


def test_the_classifier_adds_noise_only_where_a_generator_for_it_is_given() -> None:
    discriminator = small_discriminator()
    images = torch.rand(3, 1, 4, 4) * 2 - 1

    assert torch.equal(discriminator(images), discriminator(images))
    assert not torch.equal(discriminator(images), discriminator(images, torch.Generator()))


def test_initialisation_gives_logits_mean_zero_and_variance_one_over_the_batch() -> None:
    discriminator = small_discriminator()
    images = torch.rand(400, 1, 4, 4) * 2 - 1

    discriminator.initialise_from(images, torch.Generator().manual_seed(1))

    logits = discriminator(images, torch.Generator().manual_seed(1))
    torch.testing.assert_close(logits.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(logits.var(0, correction=0), torch.ones(3), atol=1e-2, rtol=0)


def test_features_are_the_last_hidden_units() -> None:
    features = small_discriminator().features(torch.zeros(2, 1, 4, 4))

    assert features.shape == (2, 8)
    assert features.min() >= 0
