"""One step of a generator against a discriminator of real and generated images, Goodfellow et al. 2014, algorithm 1.

The fully connected nets of 2014 and the DCGAN share it: they differ in their networks and optimisers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from training.augmentation import augmented
from training.batches import RealBatch, RealBatches, latents_for
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.losses import adversarial_discriminator_loss, adversarial_generator_loss, gradient_penalty
from training.networks import adversarial_nets, dcgan
from training.randomness import stream
from training.recipes import AdversarialNetsRecipe, DcganRecipe
from training.recipes.adversarial import AdversarialRecipe
from training.steps.player import Player, restore_players, state_of, trained
from training.steps.step import CALIBRATION_STREAM, Losses, constant

CALIBRATION_IMAGES = 512  # as many real ones for the discriminator
CALIBRATION_LATENTS = 512  # standard error of a stored mean: at most 1 / sqrt(512) = 4 % of the deviation
PENALTY_STEPS = 16  # between two with R1, whose weight is so many times as large: Karras et al. 2020 (arXiv:1912.04958)
INITIALISE_IMAGES = 10_000  # standard error of a pixel's mean: 1 / sqrt(10,000) = 1 % of its deviation


class AdversarialStep(ABC):
    """k discriminator steps, then one of the generator, Goodfellow et al. 2014, algorithm 1.

    Args:
        generator: trained in place, in train mode.
        discriminator: trained in place, in train mode.
        recipe: gives the optimisers' settings and the sizes of batches.
        data: the training images.
        acceleration: how the networks are computed; they already lie where it places them.
        optimisers: of the trained weights, by "generator" and "discriminator".
    """

    SIMULTANEOUS: ClassVar[bool] = False  # whether both gradients are taken before either network moves

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        recipe: AdversarialRecipe,
        data: LabelledImages,
        acceleration: Acceleration,
        *,
        optimisers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._settings = recipe
        self._acceleration = acceleration
        self._generator, self._discriminator = map(acceleration.accelerated, (generator, discriminator))
        self._batches = RealBatches(data, seed=recipe.seed, batch=recipe.batch, mirror=recipe.mirror == "yes")
        networks = {"generator": generator, "discriminator": discriminator}
        self.players = {
            name: Player(network, optimisers[name], historical_averaging=recipe.historical_averaging)
            for name, network in networks.items()
        }

    @abstractmethod
    def initialise(self) -> None:
        """Set the initial weights that depend on data."""

    @abstractmethod
    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Calibrate the statistics of averaged networks; see `Step`."""

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images; see `Step`."""
        images: Tensor = generator(latents)
        return images

    @abstractmethod
    def _generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]."""

    @abstractmethod
    def _logits(self, images: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        """Return the discriminator's logit of "real" [N]."""

    def _moved(self) -> None:  # noqa: B027 - most need nothing
        """Run after the discriminator has moved, alone or together with the generator, such as a weight constraint."""

    @abstractmethod
    def _rates(self, images_seen: int) -> Mapping[str, float]:
        """Return the current learning rate of each network, and apply the other schedules."""

    def __call__(self, images_seen: int, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step; see `Step`."""
        rates = {name: rate * rate_share for name, rate in self._rates(images_seen).items()}
        losses: Losses = {}
        for number in range(self._settings.discriminator_steps):
            batch = self._batch_at(images_seen + number * self._settings.batch)
            latents = self._acceleration.place(parallel.own(latents_for(self._settings, self._settings.batch, noise)))
            generated = self._generate(latents, batch.labels)
            if self.SIMULTANEOUS and number == self._settings.discriminator_steps - 1:
                return self._simultaneous_step(batch, generated, noise, rates)
            penalty = self._penalty_weight(images_seen // self._settings.batch + number)
            losses = self._discriminator_step(batch, generated.detach(), noise, rates["discriminator"], penalty=penalty)
        return losses | self._generator_step(generated, batch.labels, noise, rates["generator"])

    def state(self) -> dict[str, Tensor]:
        """Return the players' state, without weights."""
        return state_of(self.players)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        restore_players(self.players, state)

    def _batch_at(self, images_seen: int) -> RealBatch:
        """Return this process's share of a batch, on the networks' device."""
        batch, place = self._batches.at(images_seen), self._acceleration.place
        return RealBatch(place(parallel.own(batch.images)), place(parallel.own(batch.labels)))

    def _penalty_weight(self, number: int) -> float:
        """Return the weight of the penalty on the discriminator's slope in its step of a number; 0 is none."""
        return 0.0

    def _discriminator_step(
        self, batch: RealBatch, generated: Tensor, noise: torch.Generator, rate: float, *, penalty: float
    ) -> Losses:
        """Raise log D(x) + log(1 - D(G(z))) with respect to the discriminator, and keep it from growing steep.

        Real and generated images take separate passes: batch normalisation must not mix them.
        """
        images = batch.images.detach().requires_grad_(penalty > 0)
        real = self._logits(images, batch.labels, noise)
        fake = self._logits(generated, batch.labels, noise)
        loss = adversarial_discriminator_loss(real, fake, target=self._settings.real_target)
        slope = gradient_penalty(real, images, penalty) if penalty else 0.0
        self.players["discriminator"].descend(loss + slope, rate)
        self._moved()
        return {"discriminator": loss.item(), **_believed(real, fake)}

    def _generator_step(self, generated: Tensor, labels: Tensor, noise: torch.Generator, rate: float) -> Losses:
        """Raise log D(G(z)) with respect to the generator, the non-saturating game of section 3."""
        with constant(self.discriminator):
            loss = adversarial_generator_loss(self._logits(generated, labels, noise))
            self.players["generator"].descend(loss, rate)
        return {"generator": loss.item()}

    def _simultaneous_step(
        self, batch: RealBatch, generated: Tensor, noise: torch.Generator, rates: Mapping[str, float]
    ) -> Losses:
        """Move both networks along gradients taken before either moved, from one pass over generated images."""
        real = self._logits(batch.images, batch.labels, noise)
        fake = self._logits(generated, batch.labels, noise)
        losses = {
            "discriminator": adversarial_discriminator_loss(real, fake, target=self._settings.real_target),
            "generator": adversarial_generator_loss(fake),
        }
        for name, loss in losses.items():
            self.players[name].compute_gradients(loss)
        for name in losses:
            self.players[name].move(rates[name])
        self._moved()
        values = {name: loss.item() for name, loss in losses.items()}
        return {"discriminator": values["discriminator"], **_believed(real, fake), "generator": values["generator"]}


def _believed(real: Tensor, fake: Tensor) -> Losses:
    """Return D's mean output on real and on generated images; both are 0.5 where it cannot tell them apart."""
    return {"D(x)": real.detach().sigmoid().mean().item(), "D(G(z))": fake.detach().sigmoid().mean().item()}


class AdversarialNetsStep(AdversarialStep):
    """The step of the fully connected nets, with the authors' schedule of stochastic gradient descent.

    As in their code, both gradients are taken before either network moves. It matters: with the discriminator one step
    ahead, the generator collapsed to a single image within 200,000 images of MNIST.
    """

    SIMULTANEOUS = True

    def __init__(
        self,
        generator: adversarial_nets.Generator,
        discriminator: adversarial_nets.Discriminator,
        recipe: AdversarialNetsRecipe,
        data: LabelledImages,
        acceleration: Acceleration,
    ) -> None:
        optimisers = {
            name: torch.optim.SGD(trained(network), lr=recipe.rate, momentum=recipe.momentum, fused=True)
            for name, network in (("generator", generator), ("discriminator", discriminator))
        }
        super().__init__(generator, discriminator, recipe, data, acceleration, optimisers=optimisers)
        self._networks = generator, discriminator
        self._recipe = recipe

    def initialise(self) -> None:
        """Start the generator at the mean image of the data."""
        self._networks[0].initialise_from(self._acceleration.place(self._batches.first(INITIALISE_IMAGES)))

    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Switch to eval mode; these networks have no batch statistics."""
        generator.eval()

    def _generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self._generator(latents)

    def _logits(self, images: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        return self._discriminator(images, noise)

    def _rates(self, images_seen: int) -> Mapping[str, float]:
        """Divide the rate at each step, and raise the momentum linearly."""
        recipe = self._recipe
        grown = min(images_seen / recipe.momentum_images, 1.0)
        for player in self.players.values():
            settings: dict[str, Any] = player.optimiser.param_groups[0]
            settings["momentum"] = recipe.momentum + grown * (recipe.final_momentum - recipe.momentum)
        rate = max(recipe.rate / recipe.rate_divisor ** (images_seen // recipe.batch_images), recipe.least_rate)
        return {"generator": rate, "discriminator": rate}

    def _moved(self) -> None:
        if self._recipe.max_column_norm < float("inf"):
            for network in self._networks:
                network.constrain(self._recipe.max_column_norm)


class DcganStep(AdversarialStep):
    """The step of the DCGAN, with Adam."""

    def __init__(
        self,
        generator: dcgan.Generator,
        discriminator: dcgan.Discriminator,
        recipe: DcganRecipe,
        data: LabelledImages,
        acceleration: Acceleration,
    ) -> None:
        betas = (recipe.beta1, recipe.beta2)
        rates = {"generator": recipe.generator_rate, "discriminator": recipe.discriminator_rate}
        optimisers = {
            name: torch.optim.Adam(
                trained(network),
                lr=rates[name],
                betas=betas,
                eps=recipe.epsilon,
                weight_decay=recipe.weight_decay,
                fused=True,
            )
            for name, network in (("generator", generator), ("discriminator", discriminator))
        }
        super().__init__(generator, discriminator, recipe, data, acceleration, optimisers=optimisers)
        self._rate_of = rates
        self._augment = recipe.augment
        self._penalty = recipe.gradient_penalty * PENALTY_STEPS
        self._classes = len(data.classes) if recipe.conditional == "yes" else 0

    def initialise(self) -> None:
        """Do nothing: no initial weight of a DCGAN depends on data."""

    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Store the batch statistics of generated images, and those of real ones in the discriminator; see `Step`."""
        drawn = latents_for(self._settings, CALIBRATION_LATENTS, stream(self._settings.seed, CALIBRATION_STREAM))
        latents = self._acceleration.place(drawn)
        cast(dcgan.Generator, generator).calibrate_statistics(latents, self._cycled(len(latents)))
        real, place = self._batches.some(CALIBRATION_IMAGES), self._acceleration.place
        labels = place(real.labels) if self._classes else None
        cast(dcgan.Discriminator, discriminator).calibrate_statistics(place(real.images), labels)

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images; see `Step`."""
        images: Tensor = generator(latents, self._cycled(len(latents)))
        return images

    def _cycled(self, count: int) -> Tensor | None:
        """Return the labels 0, 1, ... K-1, 0, ... [count] of a conditional pair, else None."""
        return torch.arange(count, device=self._acceleration.device) % self._classes if self._classes else None

    def _generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self._generator(latents, labels if self._classes else None)

    def _logits(self, images: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        seen = augmented(images, self._augment, noise)
        return self._discriminator(seen, labels if self._classes else None)

    def _penalty_weight(self, number: int) -> float:
        return 0.0 if number % PENALTY_STEPS else self._penalty

    def _rates(self, images_seen: int) -> Mapping[str, float]:
        return self._rate_of
