"""The batches of a run: a function of (seed, images seen), whatever was drawn before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import LabelledImages, choose_labelled
from training.gan_step import Batch
from training.latents import draw_latents
from training.randomness import stream
from training.recipes import ImprovedGanRecipe


class Batches:
    """Draws the batch of any step of a run.

    Each of the labelled images, the discriminator's unlabelled ones and the generator's is gone through in its own
    random order, which changes from one pass to the next.

    Args:
        data: the training images; all of them serve as unlabelled ones.
        recipe: gives the seed, the number of labelled images and the sizes of batches.
    """

    def __init__(self, data: LabelledImages, recipe: ImprovedGanRecipe) -> None:
        self._images = data.images
        self._labels = data.labels
        self._recipe = recipe
        self.labelled = choose_labelled(
            data.labels, count=recipe.labels, classes=len(data.classes), seed=recipe.seed
        )  # [labels] indices
        self._orders: dict[str, tuple[int, NDArray[np.int64]]] = {}

    def at(self, images_seen: int, noise: torch.Generator) -> Batch:
        """Return the batch of the step that begins after so many unlabelled images; latents come from `noise`."""
        recipe, count = self._recipe, self._recipe.unlabelled_batch
        labels_seen = images_seen // count * recipe.labelled_batch
        labelled = self.labelled[self._next("labelled", labels_seen, recipe.labelled_batch, len(self.labelled))]
        return Batch(
            labelled=to_tensor(self._images[labelled]),
            labels=torch.from_numpy(self._labels[labelled]),
            unlabelled=to_tensor(self._images[self._next("unlabelled", images_seen, count, len(self._images))]),
            unlabelled_fresh=to_tensor(self._images[self._next("fresh", images_seen, count, len(self._images))]),
            latents=draw_latents(count, recipe.latent_size, distribution=recipe.latent_distribution, generator=noise),
        )

    def to_initialise(self) -> Tensor:
        """Return the images [N, C, H, W] that set the discriminator's first scales and biases."""
        return to_tensor(
            self._images[self._order("initialise", 0, len(self._images))[: self._recipe.initialise_images]]
        )

    def _next(self, purpose: str, position: int, count: int, total: int) -> NDArray[np.int64]:
        """Return `count` indices that begin at a position of an endless sequence of random orders of `total`."""
        parts = []
        while count:
            epoch, start = divmod(position, total)
            part = self._order(purpose, epoch, total)[start : start + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts)

    def _order(self, purpose: str, epoch: int, total: int) -> NDArray[np.int64]:
        """Return the random order of one pass, which is kept until the next one is asked for."""
        if self._orders.get(purpose, (-1,))[0] != epoch:
            generator = stream(self._recipe.seed, f"order/{purpose}", images_seen=epoch)
            self._orders[purpose] = epoch, torch.randperm(total, generator=generator).numpy()
        return self._orders[purpose][1]


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Convert images uint8 [N, H, W, C] to float32 [N, C, H, W] in [-1, 1]."""
    return torch.tensor(images).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Convert images float32 [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C], rounding to the nearest value."""
    scaled = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def predicted(
    classify: Callable[[Tensor], Tensor], images: NDArray[np.uint8], *, batch: int = 1000
) -> NDArray[np.int64]:
    """Return the most probable class [N] of images uint8 [N, H, W, C]."""
    with torch.no_grad():
        parts = [classify(to_tensor(images[n : n + batch])).argmax(1).numpy() for n in range(0, len(images), batch)]
    return np.concatenate(parts)
