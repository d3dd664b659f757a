"""One network in training by a loss of its own: optimiser, averaged weights, counters and what is saved of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from training.average import Average
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.errors import RunError
from training.randomness import stream
from training.recipes import EncoderRecipe, StudentRecipe
from training.runs.checkpoint import section
from training.steps.player import Player, trained
from training.steps.step import Losses, must_be_finite

N = TypeVar("N", bound=nn.Module)


class OneNetworkTraining(ABC, Generic[N]):
    """What such trainings share; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        network: with fresh weights.
        sections: names of the weights and of the averaged ones in the checkpoint.
        acceleration: how the network is computed.
    """

    def __init__(
        self,
        config: RunConfig,
        recipe: EncoderRecipe | StudentRecipe,
        network: N,
        sections: tuple[str, str],
        acceleration: Acceleration,
    ) -> None:
        self.config = config
        self.images_seen = 0
        self.losses: Losses | None = None
        self._acceleration = acceleration
        self._rates = recipe
        self._network = acceleration.placed(network)
        parallel.spread(self._network)
        self._average = Average(self._network, share=recipe.average_share)
        self._forward = acceleration.accelerated(self._network)
        adam = torch.optim.Adam(
            trained(self._network), lr=recipe.rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
        )
        self._player = Player(self._network, adam, historical_averaging=0)
        self._networks: dict[str, nn.Module] = dict(zip(sections, (self._network, self._average.network), strict=True))

    @abstractmethod
    def loss(self, noise: torch.Generator) -> Tensor:
        """Return the loss of this process's share of the next step's images, a scalar."""

    def advance(self) -> Losses:
        """Take one step.

        Raises:
            DivergedError: if a loss is not finite.
        """
        recipe = self._rates
        noise = stream(recipe.seed, "step", images_seen=self.images_seen)
        self._network.train()
        with parallel.shared_batches():
            loss = self.loss(noise)
        losses = parallel.averaged({"loss": loss.item()})
        must_be_finite(losses, self.images_seen)
        self._player.descend(loss, recipe.rate * recipe.rate_share(self.images_seen))
        self.images_seen += recipe.batch
        self._average.update(batch_images=recipe.batch, images_seen=self.images_seen)
        self.losses = losses
        return losses

    def collect(self) -> None:
        """Do nothing: every process holds the whole state."""

    def weights(self) -> dict[str, Tensor]:
        """Return all weights, current and averaged, by their names in the checkpoint."""
        return {
            f"{prefix}.{name}": tensor.cpu().contiguous()
            for prefix, network in self._networks.items()
            for name, tensor in network.state_dict().items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs: weights and Adam's moments."""
        moments = self._player.state()
        return {**self.weights(), **{f"step.{name}": tensor.cpu().contiguous() for name, tensor in moments.items()}}

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Continue from what `state` returned after `images_seen` images.

        Raises:
            RunError: if the tensors are those of another network.
        """
        try:
            for prefix, network in self._networks.items():
                network.load_state_dict(section(tensors, prefix))
            if images_seen:
                self._player.restore(section(tensors, "step"))
        except (RuntimeError, LookupError, ValueError) as error:
            raise RunError(f"the saved state does not fit the recipe's network: {error}") from None
        self.images_seen = images_seen
