"""The deep sparse autoencoder of Le et al. 2012 (arXiv:1112.6209), section 3.

A stage is three sublayers: local filters that share no weights, L2 pooling within each map, and local contrast
normalisation. A stage is trained to reconstruct its input from its filters' responses while few of its pools are active
(reconstruction TICA). The next stage takes its output. A stage's outputs are its units.

Inside, the batch is the innermost dimension, [C, H, W, N]; see `training.layers.local_filters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.compute.sharding import own_share
from training.errors import DataError
from training.layers import ContrastNormalisation, LocalDecoder, LocalFilters, l2_pooling


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShape:
    """The geometry and operations of one stage; sides and strides count positions of its input."""

    maps: int
    field: int  # side of a receptive field, cut to inputs that are lower or narrower
    stride: int  # between fields
    pool: int  # side of a pool
    pool_stride: int  # between pools
    epsilon: float  # under the root of a pool
    window: int  # side of the window of contrast normalisation; 0 for none
    floor: float  # contrast below which it is not amplified
    squared: bool = True  # L2 pools of linear filters, else averages of tanh filters as in a plain autoencoder


class StageLoss(NamedTuple):
    """The two parts of a stage's loss, `reconstruction + lambda sparsity`; scalars, means over the batch."""

    reconstruction: Tensor  # squared distance between the stage's input and its reconstruction
    sparsity: Tensor  # sum of the pools' activations


class Stage(nn.Module):
    """Local filters, pools and contrast normalisation, with the decoder used in training.

    Args:
        shape: (C, H, W) of the inputs.
        stage: the stage's geometry.

    Raises:
        DataError: if the fields or pools do not fit the inputs.
    """

    def __init__(self, shape: tuple[int, int, int], stage: StageShape) -> None:
        super().__init__()
        self._stage = stage
        try:
            self.filters = LocalFilters(shape, maps=stage.maps, field=stage.field, stride=stage.stride)
        except ValueError as error:
            raise DataError(str(error)) from None
        self.decoder = LocalDecoder(self.filters, shape)
        maps, *sides = self.filters.shape
        if stage.pool > min(sides):
            raise DataError(f"pools of {stage.pool} do not fit filters at {sides[0]}x{sides[1]} places")
        height, width = ((side - stage.pool) // stage.pool_stride + 1 for side in sides)
        self.shape = maps, height, width  # of the units
        self.normalisation = (
            ContrastNormalisation((height, width), window=stage.window, floor=stage.floor) if stage.window else None
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [C, H, W, N] to units [M, H', W', N]."""
        return self._normalised(self._pooled(self._responses(inputs)))

    def learn(self, inputs: Tensor) -> tuple[StageLoss, Tensor]:
        """Return the loss, eq. 1, of inputs [C, H, W, N], and the units [M, H', W', N]."""
        responses = self._responses(inputs)
        pooled, images = self._pooled(responses), inputs.shape[3]
        reconstruction = (self.decoder(responses) - inputs).square().sum() / images
        return StageLoss(reconstruction, pooled.abs().sum() / images), self._normalised(pooled)

    def reconstruct(self, inputs: Tensor) -> Tensor:
        """Map [C, H, W, N] to the decoder's reconstruction, of the same shape."""
        images: Tensor = self.decoder(self._responses(inputs))
        return images

    @torch.no_grad()
    def constrain(self) -> None:
        """Clip the decoder's patches to unit length, so that large patches cannot make up for small responses."""
        patches = own_share(self.decoder.weight)  # [H', W', K, M], of which sharding cuts the rows
        patches.div_(patches.norm(dim=2, keepdim=True).clamp(min=1))

    def _responses(self, inputs: Tensor) -> Tensor:
        responses: Tensor = self.filters(inputs)
        return responses if self._stage.squared else responses.tanh()

    def _pooled(self, responses: Tensor) -> Tensor:
        stage = self._stage
        if stage.squared:
            return l2_pooling(responses, window=stage.pool, stride=stage.pool_stride, epsilon=stage.epsilon)
        means = functional.avg_pool2d(responses.permute(0, 3, 1, 2), stage.pool, stage.pool_stride)
        return means.permute(0, 2, 3, 1)

    def _normalised(self, pooled: Tensor) -> Tensor:
        return pooled if self.normalisation is None else self.normalisation(pooled)


class SparseAutoencoder(nn.Module):
    """A chain of stages; each takes the units of the one before.

    Args:
        image_shape: (C, H, W).
        stages: geometry of each stage, from the images upwards.
        input_window: side of the window of contrast normalisation on the images, in pixels; 0 for none.
        input_floor: contrast of images in [0, 1] below which it is not amplified.

    Raises:
        DataError: if the stages do not fit such images.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        stages: Sequence[StageShape],
        input_window: int = 0,
        input_floor: float = 0.05,
    ) -> None:
        super().__init__()
        self.image_shape = shape = image_shape
        self.input_normalisation = (
            ContrastNormalisation(shape[1:], window=input_window, floor=2 * input_floor) if input_window else None
        )
        self.stages = nn.ModuleList()
        for number, stage in enumerate(stages, start=1):
            try:
                made = Stage(shape, stage)
            except DataError as error:
                raise DataError(f"stage {number} on {shape[1]}x{shape[2]} places: {error}") from None
            self.stages.append(made)
            shape = made.shape

    @property
    def unit_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(M, H, W) of every stage's units."""
        return tuple(stage.shape for stage in self._stages())

    @property
    def fields(self) -> tuple[tuple[int, int], ...]:
        """Height and width of every stage's receptive fields, in positions of its input."""
        return tuple(stage.filters.field for stage in self._stages())

    @property
    def first_stage(self) -> Stage:
        """The stage that takes the images."""
        return next(self._stages())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to the activations [N, M, H', W'] of every stage's units."""
        units, activations = self.inputs(images), []
        for stage in self._stages():
            units = stage(units)
            activations.append(units.permute(3, 0, 1, 2))
        return activations

    def inputs(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the first stage's input [C, H, W, N], contrast-normalised if set."""
        innermost = self._innermost(images)
        return innermost if self.input_normalisation is None else self.input_normalisation(innermost)

    def learn(self, images: Tensor, *, through: bool) -> list[StageLoss]:
        """Return every stage's loss.

        Args:
            images: [N, C, H, W] in [-1, 1].
            through: whether a stage's loss reaches the weights of the stages below.
        """
        units, losses = self.inputs(images), []
        for stage in self._stages():
            loss, units = stage.learn(units)
            units = units if through else units.detach()
            losses.append(loss)
        return losses

    def reconstruct(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the first stage's reconstructions, of the same shape and range.

        Contrast normalisation of the images is undone with the originals' means and contrasts. Pools discard positions
        within their window, so higher stages cannot be mapped back to pixels.
        """
        innermost = self._innermost(images)
        first = self.first_stage
        if self.input_normalisation is None:
            rebuilt = first.reconstruct(innermost)
        else:
            mean, contrast = self.input_normalisation.statistics(innermost)
            rebuilt = first.reconstruct((innermost - mean) / contrast) * contrast + mean
        return rebuilt.permute(3, 0, 1, 2).clamp(-1, 1)

    def constrain(self) -> None:
        """Apply every stage's constraint."""
        for stage in self._stages():
            stage.constrain()

    def _innermost(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to [C, H, W, N].

        Raises:
            DataError: if their shape is not the network's.
        """
        if images.shape[1:] != self.image_shape:
            seen, known = list(images.shape[1:]), list(self.image_shape)
            raise DataError(f"images are {seen} (C, H, W), but the network sees {known}")
        return images.permute(1, 2, 3, 0).contiguous()

    def _stages(self) -> Iterator[Stage]:
        return iter(self.stages)  # type: ignore[arg-type]
