"""The fields shared by recipes of a generator against a discriminator of real and generated images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from training.recipes.recipe import About, GanRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialRecipe(GanRecipe):
    """The game of Goodfellow et al. 2014, algorithm 1, whatever the networks."""

    images: Annotated[int, About("length of the run, in real images", 1)]
    batch: Annotated[int, About("real images per step, and as many generated ones", 2, 65_536)]

    mirror: Annotated[
        Literal["no", "yes"],
        About("whether each real image is mirrored with probability 1/2; not for digits or letters"),
    ] = "no"
    discriminator_steps: Annotated[int, About("k: discriminator steps for each generator step", 1, 100)] = 1
    real_target: Annotated[
        float, About("target of D for real images; below 1 is one-sided label smoothing", 0.51, 1)
    ] = 1.0
    historical_averaging: Annotated[float, About("weight of |theta - its mean over the run|^2; 0 for none", 0, 1e6)] = (
        0.0
    )

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The size of a step's batches by field."""
        return {"batch": self.batch}

    @property
    def batch_images(self) -> int:
        """The number of real images that a step advances the run by."""
        return self.batch * self.discriminator_steps
