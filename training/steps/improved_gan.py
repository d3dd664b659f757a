"""One step of the K+1 GAN, Salimans et al. 2016 (arXiv:1606.03498). Batch and networks in, losses out; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from training.batches import SemiSupervisedBatch, SemiSupervisedBatches, latents_for
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.losses import (
    conditional_entropy,
    feature_matching_loss,
    minimax_evidence_loss,
    non_saturating_evidence_loss,
    pull_away_loss,
    supervised_loss,
    unsupervised_fake_loss,
    unsupervised_real_loss,
)
from training.networks import improved_gan, improved_gan_conv
from training.randomness import stream
from training.recipes import ImprovedGanRecipe
from training.steps.player import Player, restore_players, state_of, trained
from training.steps.smoothness import manifold_loss, virtual_adversarial_loss
from training.steps.step import CALIBRATION_STREAM, Losses, constant

Generator = improved_gan.Generator | improved_gan_conv.Generator
Discriminator = improved_gan.Discriminator | improved_gan_conv.Discriminator
CALIBRATION_LATENTS = 2000  # standard error of a stored mean: at most 1 / sqrt(2000) = 2 % of the deviation


class ImprovedGanStep:
    """A discriminator step, then the generator's, Salimans et al. 2016, sections 3 and 5.

    Args:
        generator: trained in place, in train mode.
        discriminator: trained in place.
        recipe: gives the losses, Adam's settings and the sizes of batches.
        data: the training images.
        acceleration: how the networks are computed; they already lie where it places them.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        recipe: ImprovedGanRecipe,
        data: LabelledImages,
        acceleration: Acceleration,
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._recipe = recipe
        self._acceleration = acceleration
        self._generate = acceleration.accelerated(generator)
        self._discriminate = acceleration.accelerated(discriminator)
        self._features = acceleration.accelerated(discriminator.features)
        self._batches = SemiSupervisedBatches(data, recipe)
        rates = {"generator": recipe.generator_rate, "discriminator": recipe.discriminator_rate}
        self._players = {
            name: Player(network, _adam(network, rates[name], recipe), historical_averaging=recipe.historical_averaging)
            for name, network in (("generator", generator), ("discriminator", discriminator))
        }

    def initialise(self) -> None:
        """Set initial scales and biases: the discriminator's from images, a convolutional generator's from latents."""
        images = self._acceleration.place(self._batches.to_initialise())
        self.discriminator.initialise_from(images, stream(self._recipe.seed, "initialise"))
        latents = latents_for(self._recipe, len(images), stream(self._recipe.seed, "initialise/latents"))
        self.generator.initialise_from(self._acceleration.place(latents))

    def __call__(self, images_seen: int, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step of each network; see `Step`."""
        return self.on(self._own(self._batches.at(images_seen, noise)), noise, rate_share=rate_share)

    def on(self, batch: SemiSupervisedBatch, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step of each network on a given batch."""
        generated = self._generate(batch.latents)  # serves both steps: only the discriminator changes between them
        losses = self._discriminator_step(batch, generated.detach(), noise, rate_share)
        for number in range(self._recipe.generator_steps):
            if number:
                latents = parallel.own(latents_for(self._recipe, self._recipe.unlabelled_batch, noise))
                generated = self._generate(self._acceleration.place(latents))
            losses |= self._generator_step(batch, generated, noise, rate_share)
        return losses

    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Store the generator's batch statistics, and the discriminator's reference images; see `Step`."""
        place, recipe = self._acceleration.place, self._recipe
        latents = latents_for(recipe, CALIBRATION_LATENTS, stream(recipe.seed, CALIBRATION_STREAM))
        cast(Generator, generator).calibrate_statistics(place(latents))
        cast(Discriminator, discriminator).store_reference(place(self._batches.to_initialise()))

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images; see `Step`."""
        images: Tensor = generator(latents)
        return images

    def state(self) -> dict[str, Tensor]:
        """Return the players' state, without weights."""
        return state_of(self._players)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        restore_players(self._players, state)

    def _own(self, batch: SemiSupervisedBatch) -> SemiSupervisedBatch:
        """Return this process's share of a batch, on the networks' device."""

        def placed(rows: Tensor) -> Tensor:
            return self._acceleration.place(parallel.own(rows))

        return SemiSupervisedBatch(
            labelled=placed(batch.labelled),
            labels=placed(batch.labels),
            unlabelled=placed(batch.unlabelled),
            unlabelled_fresh=placed(batch.unlabelled_fresh),
            latents=placed(batch.latents),
        )

    def _discriminator_step(
        self, batch: SemiSupervisedBatch, generated: Tensor, noise: torch.Generator, share: float
    ) -> Losses:
        """Lower L_supervised + (L_real + L_fake) / 2, and what the recipe adds, with respect to the discriminator."""
        labelled, unlabelled, fake = self._logits(batch, generated, noise)
        real_loss = unsupervised_real_loss(unlabelled, target=self._recipe.real_target)
        fake_loss = unsupervised_fake_loss(fake)
        loss = 0.5 * (real_loss + fake_loss)
        losses = {"real": real_loss.item(), "fake": fake_loss.item()}
        if len(batch.labels):
            supervised = supervised_loss(labelled, batch.labels)
            loss = supervised + loss
            losses = {"labels": supervised.item(), **losses}
        for name, (weight, term) in self._added(batch, unlabelled, noise).items():
            loss = loss + weight * term
            losses[name] = term.item()
        self._players["discriminator"].descend(loss, self._recipe.discriminator_rate * share)
        return losses

    def _added(
        self, batch: SemiSupervisedBatch, unlabelled: Tensor, noise: torch.Generator
    ) -> dict[str, tuple[float, Tensor]]:
        """Return weights and values of what later papers add to the discriminator's loss, by name."""
        recipe, added = self._recipe, {}
        if recipe.entropy:
            added["entropy"] = recipe.entropy, conditional_entropy(unlabelled)
        if recipe.virtual_adversarial:
            same = _repeated(noise)
            divergence = virtual_adversarial_loss(
                lambda images: self._discriminate(images, same()),
                batch.unlabelled,
                noise,
                length=recipe.adversarial_length,
            )
            added["adversarial"] = recipe.virtual_adversarial, divergence
        if recipe.manifold:  # in float32: bfloat16 does not resolve what a short step changes
            same = _repeated(noise)
            slope = manifold_loss(
                lambda images: self.discriminator(images, same()), self.generator, batch.latents, noise
            )
            added["manifold"] = recipe.manifold, slope
        return added

    def _logits(
        self, batch: SemiSupervisedBatch, generated: Tensor, noise: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of labelled, unlabelled and generated images."""
        kinds = (batch.labelled, batch.unlabelled, generated)
        if self._recipe.minibatch_kernels:  # it compares images of one kind, so each kind takes its own pass
            labelled, unlabelled, fake = (
                self._discriminate(kind, noise) if len(kind) else kind.flatten(1) for kind in kinds
            )
        else:  # without batch statistics one pass over all kinds equals three
            sizes = [len(kind) for kind in kinds]
            with parallel.kinds(sizes):
                logits = self._discriminate(torch.cat(kinds), noise)
            labelled, unlabelled, fake = torch.split(logits, sizes)
        return labelled, unlabelled, fake

    def _generator_step(
        self, batch: SemiSupervisedBatch, generated: Tensor, noise: torch.Generator, share: float
    ) -> Losses:
        """Lower the recipe's generator loss with respect to the generator."""
        recipe = self._recipe
        matching = recipe.generator_loss == "feature-matching"
        if matching:
            with torch.no_grad():
                real = self._features(batch.unlabelled_fresh, noise)
        with constant(self.discriminator):
            if matching:
                fake = self._features(generated, noise)
                loss = feature_matching_loss(real, fake, distance=recipe.match_distance)
                losses = {"features": loss.item()}
                if recipe.pull_away:
                    term = pull_away_loss(fake)
                    loss = loss + recipe.pull_away * term
                    losses["pull_away"] = term.item()
            else:
                evidence_loss = (
                    minimax_evidence_loss if recipe.generator_loss == "minimax" else non_saturating_evidence_loss
                )
                loss = evidence_loss(self._discriminate(generated, noise))
                losses = {"generator": loss.item()}
            self._players["generator"].descend(loss, recipe.generator_rate * share)
        return losses


def _repeated(noise: torch.Generator) -> Callable[[], torch.Generator]:
    """Return what gives a source of the same noise at every call.

    Without any noise a network of noisy layers would be another one: it can be constant there, at no cost of
    smoothness, and know the classes where there is noise.
    """
    seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
    return lambda: torch.Generator(noise.device).manual_seed(seed)


def _adam(network: Generator | Discriminator, rate: float, recipe: ImprovedGanRecipe) -> torch.optim.Adam:
    """Build Adam over the parameters that are trained, with one fused kernel for all of them."""
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.Adam(trained(network), lr=rate, betas=betas, eps=recipe.epsilon, fused=True)
