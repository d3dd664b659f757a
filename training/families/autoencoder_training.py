"""A sparse autoencoder in training: network, optimiser and counters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import RealBatches, to_pixels
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.compute.sharding import collected, shard, share_like
from training.config import RunConfig
from training.data import LabelledImages
from training.distortions import distorted
from training.errors import RunError
from training.networks.sparse_autoencoder import SparseAutoencoder, StageLoss
from training.randomness import stream
from training.recipes import SparseAutoencoderRecipe
from training.runs.checkpoint import section
from training.steps.player import Player, trained
from training.steps.step import Losses, must_be_finite


class AutoencoderTraining:
    """The state of one training; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        network: with fresh weights.
        data: the training images; their labels are not used.
    """

    def __init__(
        self, config: RunConfig, recipe: SparseAutoencoderRecipe, network: SparseAutoencoder, data: LabelledImages
    ) -> None:
        self.config = config
        self.network = network
        self.images_seen = 0
        self.losses: Losses | None = None
        self._recipe = recipe
        self._acceleration = acceleration = Acceleration.chosen(recipe, convolutional=False, bfloat16_gains=False)
        parallel.spread(self.network)
        self._sharded = recipe.sharding == "yes" and parallel.processes() > 1
        self._collected: dict[str, Tensor] = {}  # the whole `state`, if each process holds a share of it
        if self._sharded:
            shard(self.network, self.network.stages, acceleration.device, method="learn")
        else:
            acceleration.placed(self.network)
        self._batches = RealBatches(data, seed=recipe.seed, batch=recipe.batch)
        adam = torch.optim.Adam(
            trained(self.network), lr=recipe.rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
        )
        self.player = Player(self.network, adam, historical_averaging=0)

    def advance(self) -> Losses:
        """Take one step.

        Raises:
            DivergedError: if a loss is not finite.
        """
        recipe = self._recipe
        with parallel.shared_batches():
            images = self._acceleration.place(parallel.own(self._drawn()))
        found = self.network.learn(images, through=recipe.schedule == "jointly")
        losses = parallel.averaged(_numbers(found))
        must_be_finite(losses, self.images_seen)
        self.player.descend(self._objective(found), recipe.rate * recipe.rate_share(self.images_seen))
        self.network.constrain()
        self.images_seen += recipe.batch
        self._collected = {}
        self.losses = losses
        return losses

    def calibrate(self) -> None:
        """Do nothing: the current weights are what is served."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return decoded patches uint8 [N, f, g, C] of first-stage filters, spread over the image; N <= count."""
        decoder = self.network.first_stage.decoder
        places = self.weights()["autoencoder.stages.0.decoder.weight"].flatten(0, 1)  # [P, K, M]
        weight = places.transpose(1, 2).flatten(0, 1)  # [P M, K]
        shape = self.config.channels, *decoder.field
        chosen = weight[torch.linspace(0, len(weight) - 1, min(count, len(weight))).long()]
        patches = chosen / chosen.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        return to_pixels(patches.reshape(-1, *shape))

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return None: an autoencoder classifies nothing before its neurons are searched."""
        return None

    def collect(self) -> None:
        """Gather sharded weights and moments in the first process."""
        if self._sharded:
            self._collected = collected(self._tensors(), keep=parallel.is_first())

    def weights(self) -> dict[str, Tensor]:
        """Return all weights by their names in the checkpoint."""
        if self._sharded:
            return {name: tensor for name, tensor in self._collected.items() if name.startswith("autoencoder.")}
        return {name: tensor.cpu() for name, tensor in self._weights().items()}

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs: weights and Adam's moments."""
        return self._collected if self._sharded else {name: tensor.cpu() for name, tensor in self._tensors().items()}

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Continue from what `state` returned after `images_seen` images.

        Raises:
            RunError: if the tensors are those of another network.
        """
        try:
            self.network.load_state_dict(self._shares(section(tensors, "autoencoder")))
            if images_seen:
                self.player.restore(section(tensors, "step"))
        except (RuntimeError, LookupError, ValueError) as error:
            raise RunError(f"the saved state does not fit the recipe's network: {error}") from None
        self.images_seen = images_seen

    def _drawn(self) -> Tensor:
        """Return the next batch [N, C, H, W], of all processes."""
        images, recipe = self._batches.at(self.images_seen).images, self._recipe
        noise = stream(recipe.seed, "distortions", images_seen=self.images_seen)
        if recipe.shift or recipe.scale:
            images = distorted(images, noise, shift=recipe.shift, rotation=0, scale=recipe.scale)
        if recipe.grey:
            chosen = torch.rand(len(images), 1, 1, 1, generator=noise) < recipe.grey
            images = torch.where(chosen, images.mean(dim=1, keepdim=True), images)
        return images

    def _tensors(self) -> dict[str, Tensor]:
        """Return the weights and Adam's moments, sharded or not."""
        return {**self._weights(), **{f"step.{name}": tensor for name, tensor in self.player.state().items()}}

    def _weights(self) -> dict[str, Tensor]:
        return {f"autoencoder.{name}": tensor for name, tensor in self.network.state_dict().items()}

    def _shares(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's shares of whole weights, or the weights themselves if nothing is sharded."""
        held = self.network.state_dict()
        return {name: share_like(held[name], tensor) if name in held else tensor for name, tensor in weights.items()}

    def _objective(self, losses: list[StageLoss]) -> Tensor:
        """Return the sum of the losses of all stages that learn now, eq. 1."""
        weighed = zip(losses, self._recipe.sparsity, strict=True)
        objectives = [loss.reconstruction + sparsity * loss.sparsity for loss, sparsity in weighed]
        if self._recipe.schedule == "greedily":
            return objectives[min(self.images_seen * len(losses) // self._recipe.images, len(losses) - 1)]
        return torch.stack(objectives).sum()


def _numbers(losses: list[StageLoss]) -> Losses:
    """Name the two parts of each stage's loss."""
    return {
        f"{part}{number}": getattr(loss, part).item()
        for number, loss in enumerate(losses, start=1)
        for part in loss._fields
    }
