"""The networks, one file a paper, and how to build them from the configuration of a run."""

from __future__ import annotations

from training.checkpoint import RunConfig
from training.networks.improved_gan import Discriminator, Generator


def build_generator(config: RunConfig) -> Generator:
    """Build a run's generator with fresh weights: latents [N, latent_size] -> images [N, C, H, W] in [-1, 1].

    In eval mode batch normalisation uses stored statistics, so that an image depends on its own latent only.
    """
    return Generator(
        latent_size=config.latent_size, widths=config.settings.generator_widths, image_shape=config.image_shape
    )


def build_classifier(config: RunConfig) -> Discriminator:
    """Build a run's classifier with fresh weights: images [N, C, H, W] in [-1, 1] -> logits [N, K].

    p(generated) = 1 / (1 + sum_k exp logit_k). It is the discriminator of the run; called with images alone it adds no
    noise and its answer for an image does not depend on the others.
    """
    return Discriminator(
        image_shape=config.image_shape,
        widths=config.settings.discriminator_widths,
        classes=len(config.classes),
        input_noise=config.settings.input_noise,
        hidden_noise=config.settings.hidden_noise,
    )
