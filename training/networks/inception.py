"""Inception-v3 as the TensorFlow graph of 2015-12-05 has it: the network behind the Inception score, FID and KID.

The architecture is that of Szegedy et al. 2015 (arXiv:1512.00567), with that graph's peculiarities, which decide the
scores (model collections hold a different network under the same name):

- images are resized to 299 x 299 as in TensorFlow 1, which aligns the corners, not the centres, of pixels;
- average pooling excludes the padding from its mean, and the last block pools by the maximum instead;
- 1,008 classes, of which 1,000 are used, and logits without their bias for the Inception score, as the code of Salimans
  et al. 2016 has it (section 4; arXiv:1606.03498).

Layers and weights have the names of the weights published for PyTorch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299  # px, of the images that the first layer sees
FEATURES = 2048
CLASSES = 1008  # logits of the graph
BATCH_NORM_EPS = 1e-3  # as in the graph

Pool = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution of a block: its name, outputs, kernel (height, width), stride, and whether it keeps the size."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True  # else without padding


Branch = tuple[
    Layer | tuple[Layer, Layer], ...
]  # consecutive layers; a pair at the end shares its input, and its outputs are concatenated


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation, and ReLU."""

    def __init__(self, channels: int, layer: Layer) -> None:
        super().__init__()
        padding = (layer.kernel[0] // 2, layer.kernel[1] // 2) if layer.same else (0, 0)
        self.conv = nn.Conv2d(channels, layer.outputs, layer.kernel, layer.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(layer.outputs, eps=BATCH_NORM_EPS)

    def forward(self, units: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, outputs, H', W'], all >= 0."""
        return functional.relu(self.bn(self.conv(units)))


class Mixed(nn.Module):
    """Branches that share an input and whose outputs are concatenated; the last one starts with pooling.

    Args:
        channels: C of the input.
        branches: of convolutions.
        pool: first operation of the pooling branch.
        projected: outputs of the convolution after the pooling, None for no convolution.
    """

    def __init__(self, channels: int, *branches: Branch, pool: Pool, projected: int | None = None) -> None:
        super().__init__()
        projection: Branch = () if projected is None else (Layer("branch_pool", projected),)
        self._branches, self._projection, self._pool = branches, projection, pool
        for branch in (*branches, projection):
            inputs = channels
            for step in branch:
                for layer in _layers(step):
                    self.add_module(layer.name, Convolution(inputs, layer))
                inputs = sum(layer.outputs for layer in _layers(step))

    def forward(self, units: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, sum of the branches' outputs, H', W']."""
        outputs = [self._through(branch, units) for branch in self._branches]
        return torch.cat([*outputs, self._through(self._projection, self._pool(units))], dim=1)

    def _through(self, branch: Branch, units: Tensor) -> Tensor:
        for step in branch:
            units = torch.cat([self.get_submodule(layer.name)(units) for layer in _layers(step)], dim=1)
        return units


class Inception(nn.Module):
    """The whole network, for inference; see the module's text.

    It maps images uint8 to features of the last pooling and logits without bias. Initial weights are random, for tests
    only.
    """

    def __init__(self) -> None:
        super().__init__()
        stages = _stages()
        self._names = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features and logits.

        Args:
            images: [N, 3, H, W], colours from 0 to 255, of any size.

        Returns:
            Features [N, 2048], all >= 0, and logits [N, 1008] without bias.
        """
        units = resized(images.float(), SIDE)
        units = (units - 128) / 128
        for name in self._names:
            units = self.get_submodule(name)(units)
        features = units.mean(dim=(2, 3))
        return features, features @ self.fc.weight.T


def resized(images: Tensor, side: int) -> Tensor:
    """Resize as TensorFlow 1's `resize_bilinear` does with its defaults.

    Pixel n of the result lies at n * H / side of the image: corners are aligned, not centres, so the last pixels
    repeat, and downscaling does not smooth.

    Args:
        images: float [N, C, H, W].
        side: of the result, px.

    Returns:
        [N, C, side, side].
    """
    for dimension in (3, 2):
        size = images.shape[dimension]
        places = torch.arange(side, dtype=images.dtype, device=images.device) * (size / side)
        before = places.long()
        after = (before + 1).clamp(max=size - 1)
        share = places - before
        share = share if dimension == 3 else share[:, None]  # along columns, then along rows
        low, high = images.index_select(dimension, before), images.index_select(dimension, after)
        images = low + (high - low) * share
    return images


def _layers(step: Layer | tuple[Layer, Layer]) -> tuple[Layer, ...]:
    return (step,) if isinstance(step, Layer) else step


def _average(units: Tensor) -> Tensor:
    """Average over 3 x 3 units, without padding at the edges."""
    return functional.avg_pool2d(units, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(units: Tensor) -> Tensor:
    """Maximum over 3 x 3 units, of the same size."""
    return functional.max_pool2d(units, 3, stride=1, padding=1)


def _halved(units: Tensor) -> Tensor:
    """Maximum over 3 x 3 units, with stride 2."""
    return functional.max_pool2d(units, 3, stride=2)


def _stages() -> OrderedDict[str, nn.Module]:
    """Return the layers from the image to the last block, in order; sizes are those after each."""
    return OrderedDict(
        Conv2d_1a_3x3=Convolution(3, Layer("", 32, (3, 3), stride=2, same=False)),  # [N, 32, 149, 149]
        Conv2d_2a_3x3=Convolution(32, Layer("", 32, (3, 3), same=False)),  # [N, 32, 147, 147]
        Conv2d_2b_3x3=Convolution(32, Layer("", 64, (3, 3))),  # [N, 64, 147, 147]
        MaxPool_1=nn.MaxPool2d(3, stride=2),  # [N, 64, 73, 73]
        Conv2d_3b_1x1=Convolution(64, Layer("", 80)),  # [N, 80, 73, 73]
        Conv2d_4a_3x3=Convolution(80, Layer("", 192, (3, 3), same=False)),  # [N, 192, 71, 71]
        MaxPool_2=nn.MaxPool2d(3, stride=2),  # [N, 192, 35, 35]
        Mixed_5b=_mixed_5(192, projected=32),  # [N, 256, 35, 35]
        Mixed_5c=_mixed_5(256, projected=64),  # [N, 288, 35, 35]
        Mixed_5d=_mixed_5(288, projected=64),  # [N, 288, 35, 35]
        Mixed_6a=_mixed_6a(288),  # [N, 768, 17, 17]
        Mixed_6b=_mixed_6(768, 128),  # [N, 768, 17, 17]
        Mixed_6c=_mixed_6(768, 160),  # [N, 768, 17, 17]
        Mixed_6d=_mixed_6(768, 160),  # [N, 768, 17, 17]
        Mixed_6e=_mixed_6(768, 192),  # [N, 768, 17, 17]
        Mixed_7a=_mixed_7a(768),  # [N, 1280, 8, 8]
        Mixed_7b=_mixed_7(1280, _average),  # [N, 2048, 8, 8]
        Mixed_7c=_mixed_7(2048, _maximum),  # [N, 2048, 8, 8]
    )


def _mixed_5(channels: int, *, projected: int) -> Mixed:
    return Mixed(
        channels,
        (Layer("branch1x1", 64),),
        (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, (3, 3)), Layer("branch3x3dbl_3", 96, (3, 3))),
        pool=_average,
        projected=projected,
    )


def _mixed_6a(channels: int) -> Mixed:
    return Mixed(
        channels,
        (Layer("branch3x3", 384, (3, 3), stride=2, same=False),),
        (
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, (3, 3)),
            Layer("branch3x3dbl_3", 96, (3, 3), stride=2, same=False),
        ),
        pool=_halved,
    )


def _mixed_6(channels: int, inner: int) -> Mixed:
    return Mixed(
        channels,
        (Layer("branch1x1", 192),),
        (Layer("branch7x7_1", inner), Layer("branch7x7_2", inner, (1, 7)), Layer("branch7x7_3", 192, (7, 1))),
        (
            Layer("branch7x7dbl_1", inner),
            Layer("branch7x7dbl_2", inner, (7, 1)),
            Layer("branch7x7dbl_3", inner, (1, 7)),
            Layer("branch7x7dbl_4", inner, (7, 1)),
            Layer("branch7x7dbl_5", 192, (1, 7)),
        ),
        pool=_average,
        projected=192,
    )


def _mixed_7a(channels: int) -> Mixed:
    return Mixed(
        channels,
        (Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, (3, 3), stride=2, same=False)),
        (
            Layer("branch7x7x3_1", 192),
            Layer("branch7x7x3_2", 192, (1, 7)),
            Layer("branch7x7x3_3", 192, (7, 1)),
            Layer("branch7x7x3_4", 192, (3, 3), stride=2, same=False),
        ),
        pool=_halved,
    )


def _mixed_7(channels: int, pool: Pool) -> Mixed:
    return Mixed(
        channels,
        (Layer("branch1x1", 320),),
        (Layer("branch3x3_1", 384), (Layer("branch3x3_2a", 384, (1, 3)), Layer("branch3x3_2b", 384, (3, 1)))),
        (
            Layer("branch3x3dbl_1", 448),
            Layer("branch3x3dbl_2", 384, (3, 3)),
            (Layer("branch3x3dbl_3a", 384, (1, 3)), Layer("branch3x3dbl_3b", 384, (3, 1))),
        ),
        pool=pool,
        projected=192,
    )
