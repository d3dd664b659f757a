"""The convolutional pair of DCGAN."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from training.errors import DataError
from training.networks.dcgan import Discriminator, Generator, Kernel, Layout

COLOUR, GREY = (3, 32, 32), (1, 64, 64)


def small_generator(shape: tuple[int, int, int] = COLOUR, *, classes: int = 0, kernel: Kernel = 5) -> Generator:
    return Generator(latent_size=6, width=2, image_shape=shape, classes=classes, kernel=kernel)


def small_discriminator(
    shape: tuple[int, int, int] = COLOUR, *, classes: int = 0, kernel: Kernel = 5, layout: Layout = "strided"
) -> Discriminator:
    return Discriminator(image_shape=shape, width=2, classes=classes, kernel=kernel, layout=layout)


def noise(count: int, shape: tuple[int, int, int] = COLOUR) -> Tensor:
    return torch.rand(count, *shape) * 2 - 1


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("shape", [COLOUR, GREY, (1, 28, 28)])
def test_sides_double_in_the_generator_and_halve_in_the_discriminator(
    shape: tuple[int, int, int], kernel: Kernel
) -> None:
    generator, discriminator = small_generator(shape, kernel=kernel), small_discriminator(shape, kernel=kernel)

    images = generator(torch.randn(3, 6))
    maps = discriminator.feature_maps(images)

    widths = [2 << n for n in range(len(maps))]
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert [tuple(each.shape[1:]) for each in maps] == [
        (width, shape[1] >> n, shape[1] >> n) for n, width in enumerate(widths, start=1)
    ]
    assert [norm.num_features for norm in generator.norms] == widths[::-1]
    assert discriminator(images).shape == (3,)


def test_the_smallest_form_of_the_paper_has_these_layers() -> None:
    generator = Generator(latent_size=100, width=128, image_shape=(3, 64, 64))

    weights = [layer.weight.shape for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]

    assert [tuple(shape) for shape in weights] == [
        (100, 1024, 4, 4),
        (1024, 512, 5, 5),
        (512, 256, 5, 5),
        (256, 128, 5, 5),
        (128, 3, 5, 5),
    ]


@pytest.mark.parametrize(("layout", "width", "features"), [("paired", 128, 28_672), ("strided", 64, 7_168)])
def test_maps_pooled_to_four_by_four_are_the_published_number_of_features(
    layout: Layout, width: int, features: int
) -> None:
    discriminator = Discriminator(image_shape=COLOUR, width=width, layout=layout).eval()

    with torch.no_grad():
        maps = discriminator.feature_maps(noise(1))

    assert all(each.shape[2] % 4 == 0 for each in maps)
    assert 16 * sum(each.shape[1] for each in maps) == features


def test_paired_layers_have_every_second_stride_and_kernels_of_three() -> None:
    layers = [
        layer
        for layer in small_discriminator(layout="paired", kernel=4).hidden.modules()
        if isinstance(layer, nn.Conv2d)
    ]

    assert [layer.out_channels for layer in layers] == [2, 2, 4, 4, 8, 8]
    assert [layer.stride for layer in layers] == [(1, 1), (2, 2)] * 3
    assert {layer.kernel_size for layer in layers} == {(3, 3)}


def test_only_layers_without_normalisation_have_a_bias_and_all_biases_begin_at_zero() -> None:
    networks: list[nn.Module] = [small_generator(), small_discriminator(), small_discriminator(layout="paired")]

    biases = [
        {name: p for name, p in each.named_parameters() if name.endswith("bias") and "norms" not in name}
        for each in networks
    ]

    assert [sorted(each) for each in biases] == [["output.bias"], *[["hidden.0.bias", "output.bias"]] * 2]
    assert all(not bias.any() for each in biases for bias in each.values())


def test_normalisation_is_everywhere_but_at_the_images() -> None:
    generator, discriminator = small_generator(), small_discriminator()

    assert sum(isinstance(module, nn.BatchNorm2d) for module in generator.modules()) == 3
    assert [isinstance(norm, nn.BatchNorm2d) for norm in discriminator.norms] == [False, True, True]


def test_first_weights_have_the_paper_s_deviation_and_scales_lie_around_one() -> None:
    torch.manual_seed(0)
    generator = Generator(latent_size=20, width=32, image_shape=COLOUR)
    discriminator = Discriminator(image_shape=COLOUR, width=32)

    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                scale = 1.0 if "norms" in name else 0.0
                assert parameter.std().item() == pytest.approx(0.02, rel=0.4), name
                assert parameter.mean().item() == pytest.approx(scale, abs=0.02), name


def test_a_sample_in_eval_mode_does_not_depend_on_its_neighbours() -> None:
    generator = small_generator()
    generator.calibrate_statistics(torch.randn(100, 6))
    latents = torch.randn(5, 6)

    together, alone = generator(latents), generator(latents[:1])

    assert not generator.training
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("classes", [0, 3])
def test_calibrated_statistics_are_those_of_the_batch(classes: int) -> None:
    generator = small_generator(classes=classes)
    latents = torch.randn(200, 6)
    labels = torch.arange(200) % classes if classes else None
    generator(torch.randn(8, 6) * 9, None if labels is None else labels[:8])  # leaves other statistics behind

    generator.calibrate_statistics(latents, labels)

    with torch.no_grad():
        torch.testing.assert_close(generator(latents, labels), generator.train()(latents, labels), atol=5e-3, rtol=0)


def test_a_logit_in_eval_mode_does_not_depend_on_the_neighbours_and_in_train_mode_it_does() -> None:
    discriminator, images = small_discriminator(), noise(4)

    trained = discriminator(images)[0], discriminator(images[:2])[0]
    discriminator.eval()
    stored = discriminator(images)[0], discriminator(images[:2])[0]

    assert not torch.equal(*trained)
    torch.testing.assert_close(*stored)


def test_the_logit_is_read_from_the_last_maps() -> None:
    discriminator, images = small_discriminator().eval(), noise(3)

    torch.testing.assert_close(discriminator.logit(discriminator.feature_maps(images)[-1]), discriminator(images))


def test_feature_maps_are_leaky_and_the_generator_s_are_not() -> None:
    generator, discriminator = small_generator(), small_discriminator()

    assert {module.negative_slope for module in discriminator.modules() if isinstance(module, nn.LeakyReLU)} == {0.2}
    assert all(isinstance(module, nn.ReLU) for module in generator.activations)
    assert discriminator.feature_maps(noise(3))[0].min() < 0


def test_learned_slopes_begin_as_the_paper_s() -> None:
    discriminator = Discriminator(image_shape=COLOUR, width=2, activation="prelu")
    generator = Generator(latent_size=6, width=2, image_shape=COLOUR, activation="prelu")
    plain_discriminator, plain_generator = small_discriminator(), small_generator()
    plain_discriminator.load_state_dict(discriminator.state_dict(), strict=False)
    plain_generator.load_state_dict(generator.state_dict(), strict=False)
    images, latents = noise(4), torch.randn(4, 6)

    torch.testing.assert_close(discriminator(images), plain_discriminator(images))
    torch.testing.assert_close(generator(latents), plain_generator(latents))
    slopes = [module.weight for module in discriminator.modules() if isinstance(module, nn.PReLU)]
    assert [slope.numel() for slope in slopes] == [2, 4, 8]


@pytest.mark.parametrize("layout", ["strided", "paired"])
def test_labels_join_the_input_of_every_layer(layout: Layout) -> None:
    generator, discriminator = small_generator(classes=3), small_discriminator(classes=3, layout=layout)
    plain_generator, plain_discriminator = small_generator(), small_discriminator(layout=layout)

    def inputs(network: nn.Module) -> list[int]:
        kinds = nn.Conv2d | nn.ConvTranspose2d
        return [module.in_channels for module in network.modules() if isinstance(module, kinds)]

    assert inputs(generator) == [channels + 3 for channels in inputs(plain_generator)]
    assert inputs(discriminator) == [channels + 3 for channels in inputs(plain_discriminator)]
    assert discriminator.output.in_features == plain_discriminator.output.in_features + 3


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_labels_change_what_a_conditional_network_says(network: Literal["generator", "discriminator"]) -> None:
    torch.manual_seed(0)
    chosen: nn.Module = small_generator(classes=3) if network == "generator" else small_discriminator(classes=3)
    inputs = torch.randn(1, 6).expand(3, -1) if network == "generator" else noise(1).expand(3, -1, -1, -1)

    answers = chosen.eval()(inputs, torch.arange(3))

    assert not torch.allclose(answers[0], answers[1], atol=1e-7, rtol=0)
    assert not torch.allclose(answers[1], answers[2], atol=1e-7, rtol=0)


@pytest.mark.parametrize(("classes", "labels"), [(0, torch.tensor([0, 1])), (3, None)])
def test_labels_are_given_where_there_are_classes_and_only_there(classes: int, labels: Tensor | None) -> None:
    with pytest.raises(ValueError, match=f"classes={classes}: expected"):
        small_generator(classes=classes)(torch.randn(2, 6), labels)
    with pytest.raises(ValueError, match=f"classes={classes}: expected"):
        small_discriminator(classes=classes)(noise(2), labels)


@pytest.mark.parametrize("classes", [0, 3])
def test_memory_with_channels_last_changes_no_answer(classes: int) -> None:
    generator, discriminator = small_generator(classes=classes).eval(), small_discriminator(classes=classes).eval()
    labels = torch.tensor([0, 2]) if classes else None
    latents = torch.randn(2, 6)
    images = generator(latents, labels)
    logits = discriminator(images, labels)
    last = torch.channels_last
    generator.to(memory_format=last)  # type: ignore[call-overload]
    discriminator.to(memory_format=last)  # type: ignore[call-overload]

    torch.testing.assert_close(generator(latents, labels), images, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        discriminator(images.contiguous(memory_format=last), labels), logits, atol=1e-6, rtol=1e-4
    )
    assert generator(latents, labels).is_contiguous(memory_format=last)
    maps = discriminator.feature_maps(images.contiguous(memory_format=last), labels)
    assert all(each.is_contiguous(memory_format=last) for each in maps)


@pytest.mark.parametrize("shape", [(3, 48, 48), (3, 32, 64), (1, 128, 128), (2, 32, 32)])
def test_other_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="it needs 28 x 28, 32 x 32 or 64 x 64, grey or colour"):
        small_generator(shape)
    with pytest.raises(DataError, match=f"images of {shape[2]} x {shape[1]} with {shape[0]} channels"):
        small_discriminator(shape)
