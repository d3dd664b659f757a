"""A student in training: network, optimiser, averaged weights and counters."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import Orders, predicted, to_tensor
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.data import LabelledImages, TaughtImages
from training.distortions import distorted
from training.families.one_network import OneNetworkTraining
from training.losses import distillation_loss
from training.networks.student import Student
from training.randomness import stream
from training.recipes import StudentRecipe

CALIBRATION_IMAGES = 2000  # of the averaged network's batch statistics
PICTURED_IMAGES = 10_000  # of the training images, among which the pictures are chosen
BATCH = 500  # images per forward pass where nothing is trained


class StudentTraining(OneNetworkTraining[Student]):
    """The state of one training; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        network: with fresh weights.
        data: the training images with the teacher's labels.
        acceleration: how the network is computed.
    """

    def __init__(
        self,
        config: RunConfig,
        recipe: StudentRecipe,
        network: Student,
        data: TaughtImages,
        acceleration: Acceleration,
    ) -> None:
        super().__init__(config, recipe, network, ("discriminator", "discriminator_average"), acceleration)
        self._recipe = recipe
        self._data = data
        self._orders = Orders(recipe.seed)
        self._kept = most_certain(data, share=recipe.keep)

    def loss(self, noise: torch.Generator) -> Tensor:
        """Return the mean divergence from the teacher's labels."""
        images, targets = self._batch()
        found = self._forward(self._acceleration.place(images), noise)
        return distillation_loss(found, targets.to(found.device), temperature=self._recipe.temperature)

    def calibrate(self) -> None:
        """Calibrate the batch statistics of the averaged network."""
        chosen = self._orders.order("calibrate", 0, len(self._data))[:CALIBRATION_IMAGES]
        self._average.network.calibrate_statistics(self._acceleration.place(to_tensor(self._data.images[chosen])))

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return training images uint8 [N, H, W, C], N <= count: those whose labels surprise the student most."""
        images, labels = self._data.images[:PICTURED_IMAGES], self._data.labels[:PICTURED_IMAGES]
        own = [
            self._classify(to_tensor(images[n : n + BATCH])).numpy()[
                np.arange(len(labels[n : n + BATCH])), labels[n : n + BATCH]
            ]
            for n in range(0, len(images), BATCH)
        ]
        return np.asarray(images[np.argsort(np.concatenate(own), kind="stable")[:count]])

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return the accuracy in [0, 1] of the averaged network as it is saved, or None without labels."""
        if not data.classes:
            return None
        self.calibrate()  # the loop measures before it saves
        return float((predicted(self._classify, data.images, batch=BATCH) == data.labels).mean())

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return this process's share of the next step's distorted images [N, C, H, W] and their targets [N, K]."""
        recipe = self._recipe
        chosen = self._kept[self._orders.next("real", self.images_seen, recipe.batch, len(self._kept))]
        images = distorted(
            to_tensor(self._data.images[chosen]),
            stream(recipe.seed, "distortions", images_seen=self.images_seen),
            shift=recipe.shift,
            rotation=recipe.rotation,
            scale=recipe.scale,
        )
        return parallel.own(images), parallel.own(torch.from_numpy(self._data.targets[chosen]))

    @torch.no_grad()
    def _classify(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to the averaged network's logits [N, K]."""
        logits: Tensor = self._average.network(self._acceleration.place(images))
        return logits.cpu()


def most_certain(data: TaughtImages, *, share: float) -> NDArray[np.int64]:
    """Return in rising order the indices of the images of each label about which the teacher is most certain.

    Args:
        data: the images with the teacher's labels.
        share: of the images of each label, in (0, 1]; at least one image of each is taken.
    """
    certainty = data.targets.max(axis=1)
    chosen = []
    for label in np.unique(data.labels):
        members = np.flatnonzero(data.labels == label)
        order = np.argsort(-certainty[members], kind="stable")
        chosen.append(members[order[: max(1, round(share * len(members)))]])
    return np.sort(np.concatenate(chosen))
