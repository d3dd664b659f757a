"""A rewritten network computes what the plain one does, to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from handlers.compute.batch_sizes import ROWS, prove
from handlers.compute.fast.arithmetic import is_plain, rewrite
from handlers.compute.precision import Precision
from tests.handlers.compute.fast.conftest import CLASSIFIERS, GENERATORS, images, inputs_of, stirred
from training.layers import BatchNorm2d, ShiftOnlyBatchNorm, WeightNormConv2d, WeightNormLinear
from training.networks.sparse_autoencoder import SparseAutoencoder, StageShape

# The largest difference, where the largest number is about 1. A float32 is rounded by up to 2^-24 in each of up to nine
# layers; a bfloat16, which has eight bits, by up to 2^-9, its weights too.
TOLERANCES: list[tuple[Precision, float]] = [("float32", 2e-5), ("bfloat16", 0.05)]


def both(network: nn.Module, precision: Precision) -> tuple[nn.Module, nn.Module]:
    rewritten = copy.deepcopy(network)
    rewrite(rewritten, precision)
    return network, rewritten


@pytest.mark.parametrize(("precision", "tolerance"), TOLERANCES)
def test_a_rewritten_generator_makes_the_images_of_the_plain_one(
    generator_name: str, precision: Precision, tolerance: float
) -> None:
    plain, fast = both(stirred(GENERATORS[generator_name]), precision)
    expected, found = plain(*inputs_of(generator_name)), fast(*inputs_of(generator_name))
    assert found.dtype == torch.float32 and expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), TOLERANCES)
def test_a_rewritten_classifier_gives_the_logits_and_features_of_the_plain_one(
    classifier_name: str, precision: Precision, tolerance: float
) -> None:
    plain, fast = both(stirred(CLASSIFIERS[classifier_name]), precision)
    expected: tuple[Tensor, Tensor] = plain.logits_and_features(images())  # type: ignore[operator]
    logits, features = fast.logits_and_features(images())  # type: ignore[operator]
    assert logits.dtype == torch.float32
    scales = [each.abs().max() for each in expected]
    torch.testing.assert_close(logits / scales[0], expected[0] / scales[0], rtol=0, atol=tolerance)
    torch.testing.assert_close(features.float() / scales[1], expected[1] / scales[1], rtol=0, atol=tolerance)
    assert torch.equal(fast(images()), logits)


def test_nothing_is_left_to_normalise_but_what_depends_on_the_example(
    generator_name: str, classifier_name: str
) -> None:
    for network in (stirred(GENERATORS[generator_name]), stirred(CLASSIFIERS[classifier_name])):
        rewrite(network, "float32")
        kinds = BatchNorm2d | ShiftOnlyBatchNorm | WeightNormLinear | WeightNormConv2d
        assert not any(isinstance(module, kinds) for module in network.modules())


def test_rows_of_a_convolutional_generator_in_bfloat16_are_free_in_every_size() -> None:
    _, fast = both(stirred(GENERATORS["wide dcgan"]), "bfloat16")
    rows = torch.rand((ROWS, 20), generator=torch.Generator().manual_seed(5)) * 2 - 1
    sizes = prove(fast, rows, 64)
    if not sizes.free:
        pytest.skip("rows are not free on this machine: its libraries let their place decide bits")
    assert sizes.free and len(sizes.proven) > 1


def test_an_autoencoder_is_served_as_it_is() -> None:
    stage = StageShape(maps=2, field=3, stride=1, pool=2, pool_stride=1, epsilon=1e-3, window=0, floor=1.0)
    network = SparseAutoencoder(image_shape=(1, 8, 8), stages=[stage])
    layers = dict(network.named_modules())
    assert is_plain(network)
    rewrite(network, "float32")
    assert dict(network.named_modules()) == layers
