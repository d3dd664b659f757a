"""Inception-v3 of 2015-12-05: its sizes, its names, and what torch-fidelity's own network says of the same weights.

The numbers were recorded from torch-fidelity 0.4.0 with the weights of `random_weights`; there and then both networks
agreed in every bit, for images of 32 x 32, 28 x 20, 299 x 299, 400 x 333 and 1 x 1. Where torch-fidelity is installed,
it is asked again.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.networks.inception_weights import random_weights
from training.networks.inception import CLASSES, FEATURES, Inception, resized

FIRST_FEATURES = [
    [0.0, 0.0, 0.08853085339069366, 1.1654778718948364],
    [0.0, 0.017759695649147034, 0.11864001303911209, 1.301590085029602],
]
MEAN_FEATURE = [5.1838531494140625, 5.167111873626709]
FIRST_LOGITS = [
    [15.045284271240234, 20.161426544189453, -10.876443862915039, 2.225493907928467],
    [14.435468673706055, 20.19755744934082, -10.215346336364746, 2.287038564682007],
]
DEVIATION_OF_LOGITS = [12.29485034942627, 12.261189460754395]
STEM = {
    "Conv2d_1a_3x3": (32, 149),
    "Conv2d_2a_3x3": (32, 147),
    "Conv2d_2b_3x3": (64, 147),
    "MaxPool_1": (64, 73),
    "Conv2d_3b_1x1": (80, 73),
    "Conv2d_4a_3x3": (192, 71),
    "MaxPool_2": (192, 35),
}
MIXED = {
    "Mixed_5b": (256, 35),
    "Mixed_5c": (288, 35),
    "Mixed_5d": (288, 35),
    "Mixed_6a": (768, 17),
    "Mixed_6b": (768, 17),
    "Mixed_6c": (768, 17),
    "Mixed_6d": (768, 17),
    "Mixed_6e": (768, 17),
    "Mixed_7a": (1280, 8),
    "Mixed_7b": (2048, 8),
    "Mixed_7c": (2048, 8),
}


@pytest.fixture(scope="module")
def network() -> Inception:
    """The network with the weights that the numbers belong to."""
    with torch.device("meta"):
        network = Inception()
    network.load_state_dict(random_weights(network), assign=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Two random pictures uint8 [2, 3, 32, 32]."""
    return torch.from_numpy(np.random.RandomState(1).randint(0, 256, (2, 3, 32, 32)).astype(np.uint8))


def test_every_layer_has_the_size_of_the_published_network(network: Inception, pictures: Tensor) -> None:
    sizes: dict[str, tuple[int, ...]] = {}
    watched = [
        stage.register_forward_hook(lambda _, __, units, name=name: sizes.update({name: tuple(units.shape)}))
        for name, stage in network.named_children()
    ]

    features, logits = network(pictures[:1])

    for handle in watched:
        handle.remove()
    assert sizes == {name: (1, channels, side, side) for name, (channels, side) in (STEM | MIXED).items()}
    assert (features.shape, logits.shape) == ((1, FEATURES), (1, CLASSES))


def test_the_state_dict_is_that_of_the_published_file(network: Inception) -> None:
    state = network.state_dict()

    assert len(state) == 566  # 94 convolutions with six tensors each, and the last layer's two
    assert sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point()) == 23_885_392
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var", "fc.bias"):
        assert name in state
    assert {module.eps for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


def test_features_and_logits_are_those_that_torch_fidelity_gives(network: Inception, pictures: Tensor) -> None:
    features, logits = network(pictures)

    assert features[:, :4].numpy() == pytest.approx(np.array(FIRST_FEATURES), abs=1e-4)
    assert features.mean(dim=1).tolist() == pytest.approx(MEAN_FEATURE, abs=1e-4)
    assert logits[:, :4].numpy() == pytest.approx(np.array(FIRST_LOGITS), abs=1e-3)
    assert logits.std(dim=1).tolist() == pytest.approx(DEVIATION_OF_LOGITS, abs=1e-3)


def test_the_logits_leave_the_bias_out(network: Inception, pictures: Tensor) -> None:
    features, logits = network(pictures)

    assert network.fc.bias.abs().max() > 0.1
    torch.testing.assert_close(logits + network.fc.bias, network.fc(features), rtol=1e-4, atol=1e-4)


def test_torch_fidelity_agrees_where_it_is_installed(network: Inception, pictures: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    theirs = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    layers = ["2048", "logits_unbiased"]
    other = theirs("", layers, feature_extractor_weights_path=str(tmp_path / "weights.pth"))

    for found, expected in zip(network(pictures), other(pictures), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_enlarging_lays_corners_on_each_other_as_tensorflow_1_does() -> None:
    line = torch.tensor([0.0, 8.0]).reshape(1, 1, 1, 2)

    larger = resized(line, 4)

    assert larger.shape == (1, 1, 4, 4)
    assert larger[0, 0].tolist() == [[0.0, 4.0, 8.0, 8.0]] * 4  # centres on centres would give 0, 2, 6, 8


def test_rows_are_resized_as_columns_are() -> None:
    image = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(resized(image, 9).mT, resized(image.mT, 9))


def test_making_smaller_smooths_nothing() -> None:
    line = torch.arange(8.0).reshape(1, 1, 1, 8)

    assert resized(line, 4)[0, 0, 0].tolist() == [0.0, 2.0, 4.0, 6.0]


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0))

    assert torch.equal(resized(image, 299), image)
