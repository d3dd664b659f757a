"""An encoder in training: the generator draws its images, each once, and it guesses their latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.average import Average
from training.batches import to_pixels, to_tensor
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import RunError
from training.latents import draw_latents
from training.losses import latent_loss
from training.networks.encoder import Encoder
from training.randomness import stream
from training.recipes import EncoderRecipe
from training.runs.checkpoint import ENCODER_SECTION, section
from training.steps.player import Player, trained
from training.steps.step import Losses, must_be_finite

CALIBRATION_IMAGES = 1024  # of the averaged network's batch statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImages(LabelledImages):
    """Some images of a generator, which the training does not draw, with their latents, and the generator.

    Attributes:
        latents: float32 [N, Z].
        generator: in eval mode; latents [N, Z], and labels [N] of a conditional one -> images [N, C, H, W] in [-1, 1].
    """

    latents: NDArray[np.float32]
    generator: nn.Module


class EncoderTraining:
    """The state of one training; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        network: with fresh weights.
        data: the generator, and images that it is not trained on.
        acceleration: how the networks are computed.
    """

    def __init__(
        self,
        config: RunConfig,
        recipe: EncoderRecipe,
        network: Encoder,
        data: GeneratedImages,
        acceleration: Acceleration,
    ) -> None:
        self.config = config
        self.images_seen = 0
        self.losses: Losses | None = None
        self._recipe = recipe
        self._acceleration = acceleration
        self._data = data
        self._network = acceleration.placed(network)
        parallel.spread(self._network)
        self._average = Average(self._network, share=recipe.average_share)
        self._guess = acceleration.accelerated(self._network)
        self._generator = acceleration.placed(data.generator)
        self._generate = acceleration.accelerated(self._generator)
        adam = torch.optim.Adam(
            trained(self._network), lr=recipe.rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
        )
        self._player = Player(self._network, adam, historical_averaging=0)

    def advance(self) -> Losses:
        """Take one step.

        Raises:
            DivergedError: if a loss is not finite.
        """
        recipe = self._recipe
        noise = stream(recipe.seed, "step", images_seen=self.images_seen)
        self._network.train()
        with parallel.shared_batches():
            latents, images, labels = self._drawn(recipe.batch, noise)
            guessed = self._guess(images, *labels)
            loss = latent_loss(guessed, latents, distribution=recipe.latent_distribution)
        losses = parallel.averaged({"loss": loss.item()})
        must_be_finite(losses, self.images_seen)
        self._player.descend(loss, recipe.rate * recipe.rate_share(self.images_seen))
        self.images_seen += recipe.batch
        self._average.update(batch_images=recipe.batch, images_seen=self.images_seen)
        self.losses = losses
        return losses

    def calibrate(self) -> None:
        """Calibrate the batch statistics of the averaged network."""
        _, images, labels = self._drawn(CALIBRATION_IMAGES, stream(self._recipe.seed, "calibrate"))
        self._average.network.calibrate_statistics(images, *labels)

    def collect(self) -> None:
        """Do nothing: every process holds the whole state."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return images uint8 [N, H, W, C], N <= count, each followed by what is drawn of the latent guessed for it."""
        images = self._data.images[: count // 2]
        labels = self._labels(torch.from_numpy(self._data.labels[: count // 2]))
        with torch.no_grad():
            guessed = self._average.network(self._acceleration.place(to_tensor(images)), *labels)
            drawn = to_pixels(self._generator(guessed, *labels))
        pairs: NDArray[np.uint8] = np.stack([images, drawn], axis=1).reshape(-1, *images.shape[1:])
        return pairs

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return None: it tells no classes apart."""
        return None

    def weights(self) -> dict[str, Tensor]:
        """Return all weights, current and averaged, by their names in the checkpoint."""
        return {
            f"{prefix}.{name}": tensor.cpu().contiguous()
            for prefix, network in self._networks().items()
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
            for prefix, network in self._networks().items():
                network.load_state_dict(section(tensors, prefix))
            if images_seen:
                self._player.restore(section(tensors, "step"))
        except (RuntimeError, LookupError, ValueError) as error:
            raise RunError(f"the saved state does not fit the recipe's network: {error}") from None
        self.images_seen = images_seen

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._network, ENCODER_SECTION: self._average.network}

    @torch.no_grad()
    def _drawn(self, count: int, noise: torch.Generator) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Draw this process's share of latents [N, Z], their images as they are served, and labels if there are any."""
        recipe, place = self._recipe, self._acceleration.place
        drawn = draw_latents(count, recipe.latent_size, distribution=recipe.latent_distribution, generator=noise)
        latents = place(parallel.own(drawn))
        chosen = torch.randint(max(self.config.condition_classes, 1), (count,), generator=noise)
        labels = self._labels(parallel.own(chosen))
        images = self._generate(latents, *labels)
        return latents, place((images * 127.5 + 127.5).round() / 127.5 - 1), labels

    def _labels(self, labels: Tensor) -> list[Tensor]:
        return [self._acceleration.place(labels)] if self.config.condition_classes else []
