"""The adversarial nets of Goodfellow et al. 2014 (arXiv:1406.2661): a ReLU generator against a maxout discriminator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from training.recipes.adversarial import AdversarialRecipe
from training.recipes.recipe import About, Hidden, LatentDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialNetsRecipe(AdversarialRecipe):
    """Fully connected adversarial nets; defaults are the authors' code on MNIST."""

    FAMILY: ClassVar[str] = "adversarial_nets"
    DESCRIPTION: ClassVar[str] = (
        "Adversarial nets: a generator of images, trained against a discriminator of real ones."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "A fully connected network does not model neighbouring pixels: samples are speckled.",
        "It generates images like its training data, at their size, and nothing else.",
    )

    images: Annotated[int, About("length of the run, in real images", 1)] = 12_500_000
    latent_distribution: Annotated[LatentDistribution, About("distribution of latents")] = "normal"
    batch: Annotated[int, About("real images per step, and as many generated ones", 2, 65_536)] = 100
    generator_widths: Hidden = (1200, 1200)
    discriminator_widths: Hidden = (240, 240)
    pieces: Annotated[int, About("linear pieces of a maxout unit", 1, 64)] = 5
    generator_range: Annotated[float, About("r of the generator's first weights, uniform on [-r, r]", 0, 1)] = 0.05
    discriminator_range: Annotated[float, About("r of the discriminator's first weights", 0, 1)] = 0.005
    keep_input: Annotated[float, About("share of the pixels that dropout keeps", 0.01, 1)] = 0.8
    keep_hidden: Annotated[float, About("share of the hidden units that dropout keeps", 0.01, 1)] = 0.5

    rate: Annotated[float, About("learning rate of both networks", 0, 10)] = 0.1
    rate_divisor: Annotated[float, About("divisor of the rate at each step", 1, 2)] = 1.000004
    least_rate: Annotated[float, About("lower limit of the rate", 0, 1)] = 1e-6
    momentum: Annotated[float, About("momentum at the start", 0, 0.9999)] = 0.5
    final_momentum: Annotated[float, About("momentum after `momentum_images`", 0, 0.9999)] = 0.7
    momentum_images: Annotated[int, About("images over which the momentum grows linearly", 1)] = 12_500_000
    max_column_norm: Annotated[
        float,
        About("largest norm of a unit's weights in both networks, as in the authors' code for faces; inf for none", 0),
    ] = math.inf


ADVERSARIAL_NETS_RECIPES = (
    AdversarialNetsRecipe(
        name="gan-mnist",
        source="Goodfellow et al. 2014, section 5 (arXiv:1406.2661); 60,000 digits of MNIST",
        cost="1 to 3 h of one CPU core",
        expected="Parzen-window log-likelihood 225 +- 2 nats (published); measured: 225.7 +- 2.3",
        channels=1,
        latent_distribution="uniform11",  # as in the authors' yaml for MNIST, which names none for the faces
        average_share=0.15,  # of the run in docs/results.md
    ),
    AdversarialNetsRecipe(
        name="gan-faces48",
        source="Goodfellow et al. 2014, section 5, Toronto Face Database (arXiv:1406.2661); grey faces, 48x48 pixels",
        cost="about 5 h of one CPU core for 100 passes over 30,000 faces",
        expected="recognisable faces; published for other faces: 2057 +- 26 nats",
        size=(48, 48),
        channels=1,
        discriminator_widths=(1200, 1200),
        rate=0.05,
        max_column_norm=1.9365,
        images=3_000_000,
        momentum_images=3_000_000,
    ),
)
