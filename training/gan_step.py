"""One step of the K+1 GAN, and the running average of weights. Networks and a batch in, losses out; no I/O."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from training.losses import feature_matching_loss, supervised_loss, unsupervised_fake_loss, unsupervised_real_loss
from training.networks.improved_gan import Discriminator, Generator
from training.recipes import ImprovedGanRecipe

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step consumes; images are float32 [N, C, H, W] in [-1, 1]."""

    labelled: Tensor
    labels: Tensor  # [N] int64
    unlabelled: Tensor  # for the discriminator
    unlabelled_fresh: Tensor  # for the generator, in another order
    latents: Tensor  # [M, Z]


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of one step, as plain numbers."""

    supervised: float
    real: float
    fake: float
    feature_matching: float

    def are_finite(self) -> bool:
        """Say whether none of them is infinite or not a number."""
        return all(math.isfinite(loss) for loss in (self.supervised, self.real, self.fake, self.feature_matching))


class ImprovedGanStep:
    """A discriminator step, then a generator step, Salimans et al. 2016, sections 3.1 and 5 (arXiv:1606.03498).

    Args:
        generator: trained in place, in train mode.
        discriminator: trained in place.
        recipe: gives Adam's settings.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator, recipe: ImprovedGanRecipe) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = recipe
        self.generator_adam = _adam(generator, recipe.generator_rate, recipe)
        self.discriminator_adam = _adam(discriminator, recipe.discriminator_rate, recipe)

    def __call__(self, batch: Batch, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step of each network.

        Args:
            batch: the images and latents of the step.
            noise: where the discriminator's noise is drawn from.
            rate_share: what both learning rates are multiplied with, in [0, 1].
        """
        generated = self.generator(batch.latents)  # serves both steps: only the discriminator changes between them
        supervised, real, fake = self._discriminator_step(batch, generated.detach(), noise, rate_share)
        return Losses(supervised, real, fake, self._generator_step(batch, generated, noise, rate_share))

    def moments(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts, by network, number of the parameter, and name."""
        return {
            f"{network}.{number}.{name}": tensor
            for network, adam in self._adams()
            for number, state in adam.state_dict()["state"].items()
            for name, tensor in state.items()
        }

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Take over what `moments` returned."""
        for network, adam in self._adams():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in moments.items():
                owner, number, name = key.split(".")
                if owner == network:
                    state.setdefault(int(number), {})[name] = tensor.clone()
            adam.load_state_dict({**adam.state_dict(), "state": state})

    def _adams(self) -> tuple[tuple[str, torch.optim.Adam], ...]:
        return ("generator", self.generator_adam), ("discriminator", self.discriminator_adam)

    def _discriminator_step(
        self, batch: Batch, generated: Tensor, noise: torch.Generator, share: float
    ) -> tuple[float, float, float]:
        """Lower L_supervised + (L_real + L_fake) / 2 with respect to the discriminator."""
        # The discriminator has no batch statistics, so one pass over all three kinds is the same as three.
        logits = self.discriminator(torch.cat([batch.labelled, batch.unlabelled, generated]), noise)
        labelled, unlabelled, fake = logits.split([len(batch.labelled), len(batch.unlabelled), len(generated)])
        losses = (
            supervised_loss(labelled, batch.labels),
            unsupervised_real_loss(unlabelled),
            unsupervised_fake_loss(fake),
        )
        _descend(
            self.discriminator_adam, losses[0] + 0.5 * (losses[1] + losses[2]), self.recipe.discriminator_rate * share
        )
        return losses[0].item(), losses[1].item(), losses[2].item()

    def _generator_step(self, batch: Batch, generated: Tensor, noise: torch.Generator, share: float) -> float:
        """Lower the feature matching loss with respect to the generator."""
        with torch.no_grad():
            real = self.discriminator.features(batch.unlabelled_fresh, noise)
        with _constant(self.discriminator):
            fake = self.discriminator.features(generated, noise)
            loss = feature_matching_loss(real, fake)
            _descend(self.generator_adam, loss, self.recipe.generator_rate * share)
        return loss.item()


class Average(Generic[Network]):
    """An exponential moving average of a network's parameters whose memory grows with the run.

    After n images the half-life is `share * n`: the average forgets the beginning of a short run as well as of a long
    one, and needs no knowledge of where the run will end.

    Args:
        network: what is averaged; its present weights are the first average.
        share: half-life as a share of the images seen so far; 0 keeps the present weights.
    """

    def __init__(self, network: Network, *, share: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.share = share
        self._averages: list[Tensor] = list(self.network.parameters())
        self._weights: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def update(self, *, batch_images: int, images_seen: int) -> None:
        """Move the average towards the present weights, after a step of `batch_images` which made `images_seen`."""
        half_life = self.share * images_seen
        keep = 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - keep)


def _adam(network: nn.Module, rate: float, recipe: ImprovedGanRecipe) -> torch.optim.Adam:
    """Build Adam over the parameters that are trained, with one fused kernel for all of them."""
    trained: Iterable[nn.Parameter] = [weight for weight in network.parameters() if weight.requires_grad]
    return torch.optim.Adam(trained, lr=rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True)


def _descend(adam: torch.optim.Adam, loss: Tensor, rate: float) -> None:
    """Take one step of Adam down a loss."""
    adam.param_groups[0]["lr"] = rate
    adam.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()


@contextlib.contextmanager
def _constant(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without computing those of its weights."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
