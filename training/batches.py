"""The batches of a run: a function of (seed, images seen), whatever was drawn before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import LabelledImages, choose_labelled
from training.latents import draw_latents
from training.randomness import stream
from training.recipes import GanRecipe, ImprovedGanRecipe


class Orders:
    """Endless random orders of a data set's images, one per purpose; each pass has its own order.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._orders: dict[str, tuple[int, NDArray[np.int64]]] = {}

    def next(self, purpose: str, position: int, count: int, total: int) -> NDArray[np.int64]:
        """Return indices [count] from a position of an endless sequence of random orders of 0..total-1."""
        parts = []
        while count:
            epoch, start = divmod(position, total)
            part = self.order(purpose, epoch, total)[start : start + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts)

    def order(self, purpose: str, epoch: int, total: int) -> NDArray[np.int64]:
        """Return the random order [total] of one pass; it is cached until another pass is asked for."""
        if self._orders.get(purpose, (-1,))[0] != epoch:
            generator = stream(self._seed, f"order/{purpose}", images_seen=epoch)
            self._orders[purpose] = epoch, torch.randperm(total, generator=generator).numpy()
        return self._orders[purpose][1]


@dataclass(frozen=True, slots=True)
class RealBatch:
    """Real images of one discriminator step."""

    images: Tensor  # float32 [N, C, H, W] in [-1, 1]
    labels: Tensor  # int64 [N], -1 where the data has no classes


class RealBatches:
    """Draws the real images of any discriminator step of a run.

    Args:
        data: the training images.
        seed: of the run.
        batch: images per discriminator step.
        mirror: whether each image is mirrored with probability 1/2.
    """

    def __init__(self, data: LabelledImages, *, seed: int, batch: int, mirror: bool = False) -> None:
        self._data = data
        self._seed = seed
        self._mirror = mirror
        self._orders = Orders(seed)
        self._batch = batch

    def at(self, images_seen: int) -> RealBatch:
        """Return the batch of the discriminator step that starts after `images_seen` real images."""
        chosen = self._orders.next("real", images_seen, self._batch, len(self._data))
        images = self._data.images[chosen]
        if self._mirror:
            drawn = torch.randint(2, (len(images),), generator=stream(self._seed, "mirror", images_seen=images_seen))
            images = np.where(drawn.numpy().astype(bool)[:, None, None, None], images[:, :, ::-1], images)
        return RealBatch(to_tensor(images), torch.from_numpy(self._data.labels[chosen]))

    def first(self, count: int) -> Tensor:
        """Return images [count, C, H, W] for data-dependent initialisation."""
        chosen = self._orders.order("initialise", 0, len(self._data))[:count]
        return to_tensor(self._data.images[chosen])

    def some(self, count: int) -> RealBatch:
        """Return at most so many images in an order of their own, always the same ones, for batch statistics."""
        chosen = self._orders.order("calibrate", 0, len(self._data))[:count]
        return RealBatch(to_tensor(self._data.images[chosen]), torch.from_numpy(self._data.labels[chosen]))


@dataclass(frozen=True, slots=True)
class SemiSupervisedBatch:
    """What one step of a K+1 GAN consumes; images are float32 [N, C, H, W] in [-1, 1]."""

    labelled: Tensor
    labels: Tensor  # [N] int64
    unlabelled: Tensor  # for the discriminator
    unlabelled_fresh: Tensor  # for the generator, in another order
    latents: Tensor  # [M, Z]


class SemiSupervisedBatches:
    """Draws the batch of any step of a K+1 GAN's run.

    The labelled images, the discriminator's unlabelled images and the generator's unlabelled images each have their own
    random order, which changes from pass to pass.

    Args:
        data: the training images; all of them also serve as unlabelled images.
        recipe: gives the seed, the number of labelled images and the sizes of batches.
    """

    def __init__(self, data: LabelledImages, recipe: ImprovedGanRecipe) -> None:
        self._images = data.images
        self._labels = data.labels
        self._recipe = recipe
        self._orders = Orders(recipe.seed)
        self.labelled = (
            choose_labelled(data.labels, count=recipe.labels, classes=len(data.classes), seed=recipe.draw)
            if recipe.labels
            else np.zeros(0, np.int64)
        )  # [labels] indices

    def at(self, images_seen: int, noise: torch.Generator) -> SemiSupervisedBatch:
        """Return the batch of the step that starts after `images_seen` unlabelled images, with latents from `noise`."""
        recipe, count, orders = self._recipe, self._recipe.unlabelled_batch, self._orders
        labels_seen = images_seen // count * recipe.labelled_batch
        labelled = self.labelled
        if len(labelled):
            labelled = labelled[orders.next("labelled", labels_seen, recipe.labelled_batch, len(labelled))]
        total = len(self._images)
        return SemiSupervisedBatch(
            labelled=to_tensor(self._images[labelled]),
            labels=torch.from_numpy(self._labels[labelled]),
            unlabelled=to_tensor(self._images[orders.next("unlabelled", images_seen, count, total)]),
            unlabelled_fresh=to_tensor(self._images[orders.next("fresh", images_seen, count, total)]),
            latents=latents_for(recipe, count, noise),
        )

    def to_initialise(self) -> Tensor:
        """Return the images [N, C, H, W] that set the discriminator's first scales and biases."""
        order = self._orders.order("initialise", 0, len(self._images))
        return to_tensor(self._images[order[: self._recipe.initialise_images]])


def latents_for(recipe: GanRecipe, count: int, generator: torch.Generator) -> Tensor:
    """Draw latents [count, Z] from the recipe's distribution."""
    return draw_latents(count, recipe.latent_size, distribution=recipe.latent_distribution, generator=generator)


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Convert images uint8 [N, H, W, C] to float32 [N, C, H, W] in [-1, 1]."""
    return torch.tensor(images).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Convert images float32 [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C], rounding to the nearest value."""
    scaled = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def predicted(
    classify: Callable[[Tensor], Tensor], images: NDArray[np.uint8], *, batch: int = 1000
) -> NDArray[np.int64]:
    """Return the most probable class [N] of images uint8 [N, H, W, C]."""
    with torch.no_grad():
        parts = [classify(to_tensor(images[n : n + batch])).argmax(1).numpy() for n in range(0, len(images), batch)]
    return np.concatenate(parts)
