"""The K+1 pair."""

from __future__ import annotations

import pytest
import torch

from training.config import RunConfig
from training.families import family_of
from training.layers import WeightNormLinear
from training.networks.improved_gan import Discriminator, Generator, Norm
from training.recipes import RECIPES, ImprovedGanRecipe


def published_config() -> RunConfig:
    recipe = RECIPES["ssgan-mnist"]
    assert isinstance(recipe, ImprovedGanRecipe)
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


def small_discriminator(*, kernels: int = 0) -> Discriminator:
    return Discriminator(
        image_shape=(1, 4, 4), widths=(12, 8), classes=3, input_noise=0.3, hidden_noise=0.5, minibatch_kernels=kernels
    )


def small_generator(*, norm: Norm = "batch") -> Generator:
    return Generator(latent_size=5, widths=(9, 7), image_shape=(3, 4, 6), norm=norm)


def test_the_published_recipe_builds_the_networks_of_the_paper() -> None:
    generator, classifier = family_of(published_config()).generator(), family_of(published_config()).classifier()

    assert isinstance(generator, Generator)
    assert isinstance(classifier, Discriminator)
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


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_a_sample_in_eval_mode_does_not_depend_on_its_neighbours(norm: Norm) -> None:
    generator = small_generator(norm=norm)
    generator.calibrate_statistics(torch.rand(200, 5))
    latents = torch.rand(6, 5)

    together, alone = generator(latents), generator(latents[:1])

    assert not generator.training
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


def test_calibrated_statistics_are_those_of_the_batch() -> None:
    generator = small_generator()
    latents = torch.rand(500, 5)
    generator(torch.rand(8, 5) * 9)  # leaves other statistics behind

    generator.calibrate_statistics(latents)

    calibrated = generator(latents)
    torch.testing.assert_close(calibrated, generator.train()(latents), atol=5e-3, rtol=0)


def test_the_classifier_adds_noise_only_where_a_generator_for_it_is_given() -> None:
    discriminator = small_discriminator()
    images = torch.rand(3, 1, 4, 4) * 2 - 1

    assert torch.equal(discriminator(images), discriminator(images))
    assert not torch.equal(discriminator(images), discriminator(images, torch.Generator()))


@pytest.mark.parametrize("kernels", [0, 6])
def test_initialisation_gives_logits_mean_zero_and_variance_one_over_the_batch(kernels: int) -> None:
    discriminator = small_discriminator(kernels=kernels)
    images = torch.rand(400, 1, 4, 4) * 2 - 1

    discriminator.initialise_from(images, torch.Generator().manual_seed(1))

    logits = discriminator(images, torch.Generator().manual_seed(1))
    torch.testing.assert_close(logits.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(logits.var(0, correction=0), torch.ones(3), atol=1e-2, rtol=0)


def test_features_are_the_last_hidden_units() -> None:
    features = small_discriminator().features(torch.zeros(2, 1, 4, 4))

    assert features.shape == (2, 8)
    assert features.min() >= 0


def test_the_plain_pair_keeps_the_names_of_its_weights() -> None:
    assert [name for name in small_generator().state_dict() if "running" not in name and "num_" not in name] == [
        "hidden.0.weight",
        "hidden.1.weight",
        "norms.0.shift",
        "norms.1.shift",
        "output.direction",
        "output.scale",
        "output.bias",
    ]
    assert {name.split(".")[0] for name in small_discriminator().state_dict()} == {"hidden", "output"}


def test_with_virtual_batch_norm_a_sample_depends_on_no_other_in_train_mode_either() -> None:
    generator = small_generator(norm="virtual")
    latents = torch.rand(6, 5)

    together, alone = generator(latents), generator(latents[:1])

    assert generator.training
    assert together.shape == (6, 3, 4, 6)
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


def test_with_virtual_batch_norm_samples_are_the_same_in_train_and_eval_mode() -> None:
    generator = small_generator(norm="virtual")
    latents = torch.rand(6, 5)
    trained = generator(latents)
    generator.norms[0].get_buffer("mean").add_(7)  # statistics of other weights

    generator.calibrate_statistics(torch.rand(50, 5))

    torch.testing.assert_close(generator(latents), trained, atol=1e-6, rtol=0)


def test_the_reference_latents_are_kept_with_the_weights() -> None:
    torch.manual_seed(0)
    reference = torch.randn(30, 5)
    generator = Generator(
        latent_size=5, widths=(9, 7), image_shape=(3, 4, 6), norm="virtual", reference_latents=reference
    )
    other = Generator(
        latent_size=5, widths=(9, 7), image_shape=(3, 4, 6), norm="virtual", reference_latents=torch.zeros(30, 5)
    )

    other.load_state_dict(generator.state_dict())

    latents = torch.randn(4, 5)
    assert torch.equal(other.reference_latents, reference)
    assert torch.equal(other(latents), generator(latents))


def test_default_reference_latents_are_always_the_same_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    plain = small_generator()
    torch.set_rng_state(state)
    first, second = small_generator(norm="virtual"), small_generator(norm="virtual")

    assert torch.equal(first.reference_latents, second.reference_latents)
    assert torch.equal(plain.hidden[0].get_parameter("weight"), first.hidden[0].get_parameter("weight"))


def test_with_minibatch_discrimination_training_compares_the_images_of_a_batch() -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=6)
    images = torch.rand(8, 1, 4, 4) * 2 - 1

    together = discriminator(images, torch.Generator().manual_seed(1))
    crowded = discriminator(torch.cat([images[:4], images[:1].expand(4, -1, -1, -1)]), torch.Generator().manual_seed(1))

    assert not torch.allclose(together[:1], crowded[:1])


def test_with_minibatch_discrimination_an_answer_does_not_depend_on_the_neighbours() -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=6)
    discriminator.initialise_from(torch.rand(400, 1, 4, 4) * 2 - 1, torch.Generator())
    images = torch.rand(8, 1, 4, 4) * 2 - 1

    together, alone = discriminator(images), discriminator(images[:1])

    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


def test_an_answer_compares_an_image_with_the_real_images_that_were_stored_last() -> None:
    torch.manual_seed(0)
    discriminator = small_discriminator(kernels=6)
    stored, image = torch.rand(100, 1, 4, 4) * 2 - 1, torch.rand(1, 1, 4, 4) * 2 - 1
    before = discriminator(image)

    discriminator.store_reference(stored)

    assert discriminator.minibatch is not None
    features = discriminator.features(torch.cat([image, stored]))
    expected = discriminator.output(discriminator.minibatch(features)[:1])
    torch.testing.assert_close(discriminator(image), expected)
    assert not torch.allclose(discriminator(image), before)


def test_minibatch_discrimination_leaves_the_features_as_they_are() -> None:
    discriminator = small_discriminator(kernels=6)

    assert discriminator.features(torch.zeros(2, 1, 4, 4)).shape == (2, 8)
    assert discriminator.output.direction.shape == (3, 8 + 6)
