"""The labelled images of a search: positives, distractors, groups, and the split into halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.batches import to_pixels, to_tensor
from training.data import LabelledImages
from training.errors import DataError
from training.neurons.invariance import changed

SHARE = 0.648  # of distractors: 1 - 13,026 / 37,000, Le et al. 2012, section 4.1
MIN_PER_SIDE = 4  # images of each side: two in each half


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Images that show a concept, and distractors that do not.

    Attributes:
        images: uint8 [N, H, W, C].
        positives: bool [N], whether an image shows the concept.
        groups: int64 [N]; images of one group, such as those of one person, never lie in different halves.
    """

    images: NDArray[np.uint8]
    positives: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positives)

    @classmethod
    def of(
        cls,
        positives: NDArray[np.uint8],
        distractors: NDArray[np.uint8],
        *,
        identities: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    ) -> Self:
        """Join the two sides.

        Args:
            positives: uint8 [P, H, W, C].
            distractors: uint8 [D, H, W, C].
            identities: of each side's images, if known; otherwise each image is its own group.

        Raises:
            DataError: if a side has too few images, or images differ in shape.
        """
        for name, side in (("positives", positives), ("distractors", distractors)):
            if len(side) < MIN_PER_SIDE:
                raise DataError(
                    f"{len(side)} {name}: give {MIN_PER_SIDE} at least, for a neuron is chosen on half of them"
                )
        if positives.shape[1:] != distractors.shape[1:]:
            shapes = " and ".join(str(list(side.shape[1:])) for side in (positives, distractors))
            raise DataError(f"positives and distractors differ in shape (H, W, C): {shapes}; bring them to one size")
        names: list[str] = []
        for number, (side, known) in enumerate(zip((positives, distractors), identities, strict=True)):
            names += [f"{number}/{image}" for image in range(len(side))] if known is None else [f"/{n}" for n in known]
        shown = np.repeat([True, False], [len(positives), len(distractors)])
        return cls(np.concatenate([positives, distractors]), shown, np.unique(names, return_inverse=True)[1])

    def taken(self, indices: NDArray[np.int64]) -> Self:
        """Return the examples at indices [M]."""
        return type(self)(self.images[indices], self.positives[indices], self.groups[indices])

    def also_cropped(self, shares: Sequence[float]) -> Self:
        """Return the examples, then, share by share, all of them with so much cut off at each end of either side."""
        images = to_tensor(self.images)
        parts = [to_pixels(changed(images, "scale", 1 / (1 - 2 * share))) for share in shares]
        times = 1 + len(parts)
        return type(self)(
            np.concatenate([self.images, *parts]), np.tile(self.positives, times), np.tile(self.groups, times)
        )


def of_class(data: LabelledImages, name: str) -> Examples:
    """Return the images of one class as positives and all others as distractors.

    Raises:
        DataError: if there is no such class, or it or the rest has too few images.
    """
    if name not in data.classes:
        known = ", ".join(data.classes[:20]) or "none: its images have no labels"
        raise DataError(f"{data.name} has no class {name!r}; its classes are {known}")
    shown = data.labels == data.classes.index(name)
    return Examples.of(data.images[shown], data.images[~shown])


def in_proportion(positives: NDArray[np.bool_], *, share: float, seed: int) -> NDArray[np.int64]:
    """Choose at random as many images as possible in a given proportion.

    Args:
        positives: bool [N].
        share: of distractors among those chosen, in (0, 1).
        seed: other seeds choose other images.

    Returns: indices [M], rising.
    """
    random = np.random.default_rng([seed, 2])
    shown, others = (random.permutation(np.flatnonzero(side)) for side in (positives, ~positives))
    count = min(len(shown), round(len(others) * (1 - share) / share))
    return np.sort(np.concatenate([shown[:count], others[: round(count * share / (1 - share))]]))


def halves(positives: NDArray[np.bool_], groups: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Split examples at random into two halves with equal shares of positives and no group in both.

    Groups are assigned one by one, large ones first, to the half that has fewer images of their kind.

    Args:
        positives: bool [N].
        groups: int64 [N].
        seed: other seeds give other splits.

    Returns: bool [N], the half to choose on; the other is to report on.

    Raises:
        DataError: if all positives or all distractors belong to one group, so that a half lacks them.
    """
    _, groups = np.unique(groups, return_inverse=True)
    sizes = np.stack([np.bincount(groups[side], minlength=groups.max() + 1) for side in (~positives, positives)], 1)
    order = np.random.default_rng([seed, 3]).permutation(len(sizes))
    order = order[np.argsort(-sizes[order].sum(1), kind="stable")]
    lead, chosen = np.zeros(2), np.zeros(len(sizes), bool)
    for group in order:
        chosen[group] = lead @ sizes[group] <= 0
        lead += sizes[group] if chosen[group] else -sizes[group]
    choosing: NDArray[np.bool_] = chosen[groups]
    for side, name in ((positives, "positives"), (~positives, "distractors")):
        if choosing[side].all() or not choosing[side].any():
            raise DataError(f"the {name} are all of one group (one person); neither half may lack them, so give others")
    return choosing
