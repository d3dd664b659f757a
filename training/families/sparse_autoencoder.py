"""The family of the deep sparse autoencoder of Le et al. 2012 (arXiv:1112.6209)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from training.compute import parallel
from training.config import RunConfig
from training.data import LabelledImages
from training.families.autoencoder_training import AutoencoderTraining
from training.families.family import Family
from training.families.needs import FLOAT_BYTES, Needs, Part, weight_count
from training.networks.sparse_autoencoder import SparseAutoencoder, StageShape
from training.randomness import fresh_weights
from training.recipes import SparseAutoencoderRecipe

SCHEDULES = {
    "jointly": "jointly: all stages lower the sum of their losses",
    "apart": "apart: each stage lowers its own loss, all at each step",
    "greedily": "greedily: each stage lowers its own loss, one stage after the other",
}


class SparseAutoencoderFamily(Family[SparseAutoencoderRecipe]):
    """Stages of local filters, pools and contrast normalisation, whose neurons can be searched for concepts."""

    PICTURES: ClassVar[str] = "patches that the first stage's filters are decoded to"

    def autoencoder(self) -> SparseAutoencoder:
        """Build the autoencoder; see `Family`."""
        return build_autoencoder(self.config, self.recipe)

    def begin(self, data: LabelledImages) -> AutoencoderTraining:
        """Begin the training; see `Family`."""
        parallel.must_be_shared(self.recipe.batch_sizes)
        with fresh_weights(self.recipe.seed):
            network = self.autoencoder()
        return AutoencoderTraining(self.config, self.recipe, network, data)

    def needs(self) -> Needs:
        """Count what the training needs; see `Family`."""
        with torch.device("meta"):  # shapes alone
            network = self.autoencoder()
        parts = tuple(
            Part(f"stage {number}", math.prod(shape), weight_count(stage))
            for number, (shape, stage) in enumerate(zip(network.unit_shapes, network.stages, strict=True), start=1)
        )
        held = FLOAT_BYTES * sum(part.weights for part in parts)
        greedily = self.recipe.schedule == "greedily"  # one stage has gradients at a time
        activation_bytes, flop_per_image = self._counted(network)
        return Needs(
            parts=parts,
            weights=sum(part.weights for part in parts),
            weight_bytes=held,
            gradient_bytes=FLOAT_BYTES * max(part.weights for part in parts) if greedily else held,
            moment_bytes=2 * held,  # Adam's mean and mean square
            average_bytes=0,  # the present weights are served
            activation_bytes=activation_bytes,
            flop_per_image=flop_per_image,
        )

    def card_rows(self, *, test_accuracy: float | None, test_images: int) -> dict[str, str]:
        """Return what the stages are; see `Family`."""
        recipe = self.recipe
        with torch.device("meta"):  # shapes alone
            network = self.autoencoder()
        rows = {}
        for number, (units, (high, wide)) in enumerate(zip(network.unit_shapes, network.fields, strict=True)):
            pool = recipe.pools[number]
            rows[f"Stage {number + 1}"] = (
                f"{' x '.join(map(str, units))} = {math.prod(units):,} units (maps x height x width); "
                f"fields {high} x {wide} every {recipe.strides[number]}, "
                f"pools {pool} x {pool} every {recipe.pool_strides[number]}; lambda {recipe.sparsity[number]:g}"
            )
        weights = f"{weight_count(network):,}, of encoders and decoders"
        return {**rows, "Weights": weights, "Schedule": SCHEDULES[recipe.schedule]}

    def _counted(self, network: SparseAutoencoder) -> tuple[int, float]:
        """Return what a batch's activations take, in bytes, and the computation of an image, in FLOP.

        All stages learn; greedily it is less.
        """
        recipe = self.recipe
        kept: dict[int, torch.UntypedStorage] = {}  # by address, which no other takes while this one is held

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        images = torch.empty(recipe.batch, *self.config.image_shape, device="meta")
        with FlopCounterMode(display=False) as counter:
            with saved_tensors_hooks(note, lambda tensor: tensor):
                losses = network.learn(images, through=recipe.schedule == "jointly")
            torch.stack([part for loss in losses for part in loss]).sum().backward()  # type: ignore[no-untyped-call]
        for tensor in (*network.parameters(), *network.buffers()):
            kept.pop(tensor.untyped_storage()._cdata, None)
        return sum(storage.nbytes() for storage in kept.values()), counter.get_total_flops() / recipe.batch


def build_autoencoder(config: RunConfig, recipe: SparseAutoencoderRecipe) -> SparseAutoencoder:
    """Build an autoencoder with fresh weights.

    Raises:
        DataError: if its stages do not fit images of the run's shape.
    """
    geometry = zip(recipe.maps, recipe.receptive_fields, recipe.strides, recipe.pools, recipe.pool_strides, strict=True)
    stages = [
        StageShape(
            maps=maps,
            field=field,
            stride=stride,
            pool=pool,
            pool_stride=pool_stride,
            epsilon=recipe.pool_epsilon,
            window=recipe.contrast_window,
            floor=recipe.contrast_floor,
            squared=recipe.units == "pools",
        )
        for maps, field, stride, pool, pool_stride in geometry
    ]
    return SparseAutoencoder(
        image_shape=config.image_shape,
        stages=stages,
        input_window=recipe.input_window,
        input_floor=recipe.input_floor,
    )


FAMILY = SparseAutoencoderFamily
