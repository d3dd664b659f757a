"""How a unit's activation falls when what it looks for is moved, scaled or turned, Le et al. 2012, section 4.5."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.batches import to_tensor

IMAGES = 10
POINTS = 17  # of a curve; odd, so that the image as it is lies on it

Activation = Callable[[Tensor], Tensor]  # images [N, C, H, W] in [-1, 1] -> activations [N]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The response to images under one kind of change.

    Attributes:
        amounts: [P] how much each point changes an image.
        mean: [P] over the images; 0 is the mean response to distractors, 1 that to the images as they are.
        deviation: [P] over the images, on the same scale.
    """

    amounts: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def response_curves(
    activation: Activation,
    images: NDArray[np.uint8],
    *,
    sign: int = 1,
    distractors: float,
    device: torch.device | str = "cpu",
) -> dict[str, Curve]:
    """Return a curve for each kind of change.

    Args:
        activation: of the unit.
        images: uint8 [K, H, W, C] that show the concept.
        sign: -1 where low activations mean the concept.
        distractors: mean activation on images that do not show it.
        device: where to compute.
    """
    originals = to_tensor(images).to(device)
    with torch.inference_mode():
        origin = sign * activation(originals).double().cpu().numpy()
        span = float(origin.mean()) - sign * distractors
        scale = span if abs(span) > 1e-12 else 1.0
        curves = {}
        for name, amounts in changes(images.shape[2]).items():
            warped = [sign * activation(changed(originals, name, amount)) for amount in amounts.tolist()]
            responses = torch.stack(warped).double().cpu().numpy()  # [P, K]
            relative = (responses - sign * distractors) / scale
            curves[name] = Curve(amounts, relative.mean(axis=1), relative.std(axis=1))
    return curves


def changes(width: int) -> Mapping[str, NDArray[np.float64]]:
    """Return how much images of that width are changed, for each kind of change."""
    quarter = width / 4
    return {
        "translation across, px": np.linspace(-quarter, quarter, POINTS),
        "translation down, px": np.linspace(-quarter, quarter, POINTS),
        "scale": np.geomspace(0.625, 1.6, POINTS),
        "rotation, degrees": np.linspace(-90, 90, POINTS),
    }


def changed(images: Tensor, name: str, amount: float) -> Tensor:
    """Move, scale or turn what images [N, C, H, W] show; pixels from outside repeat the border.

    Args:
        images: to change.
        name: one of `changes`.
        amount: to the right or downwards in pixels, times larger, or anticlockwise in degrees.
    """
    height, width = images.shape[2:]
    angle = math.radians(amount) if name.startswith("rotation") else 0.0
    zoom = amount if name == "scale" else 1.0
    across = amount if name.startswith("translation across") else 0.0
    down = amount if name.startswith("translation down") else 0.0
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    # From places of the result in [-1, 1] to places of the source.
    rows = [
        [cos, -sin * height / width, -2 * across / width],
        [sin * width / height, cos, -2 * down / height],
    ]
    matrix = torch.tensor([rows], dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def chosen_positives(positives: NDArray[np.bool_], *, seed: int, count: int = IMAGES) -> NDArray[np.int64]:
    """Return the indices of some positives, chosen at random."""
    shown = np.flatnonzero(positives)
    return np.random.default_rng([seed, 6]).permutation(shown)[:count]


def mean_response(activations: NDArray[np.floating[Any]], positives: NDArray[np.bool_]) -> float:
    """Return the mean of a unit's activations [N] over the distractors."""
    return float(activations[~positives].mean())
