"""How a unit's activation falls when its concept is moved, scaled or rotated, Le et al. 2012, section 4.5."""

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

IMAGES = 10  # positives that are changed, as in the paper
POINTS = 17  # per curve; odd, so that the unchanged image is one of them

PANELS = {  # by the kind of change: what it is called, the unit of its amounts, and the amount that changes nothing
    "translation across, px": ("moved across", "px to the right", 0.0),
    "translation down, px": ("moved down", "px down", 0.0),
    "scale": ("scaled", "factor", 1.0),
    "rotation, degrees": ("rotated", "degrees anticlockwise", 0.0),
}

Activation = Callable[[Tensor], Tensor]  # images [N, C, H, W] in [-1, 1] -> activations [N]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The response to images under one kind of change.

    Attributes:
        amounts: [P] amount of change at each point.
        mean: [P] over the images; 0 is the mean response to distractors, 1 that to unchanged images.
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
    """Return one curve per kind of change.

    Args:
        activation: of the unit.
        images: uint8 [K, H, W, C] of positives.
        sign: 1, or -1 if low activations mean the concept.
        distractors: mean activation on distractors.
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
    """Return the amounts [P] of each kind of change, for images of a width in pixels."""
    quarter = width / 4
    return {
        "translation across, px": np.linspace(-quarter, quarter, POINTS),
        "translation down, px": np.linspace(-quarter, quarter, POINTS),
        "scale": np.geomspace(0.625, 1.6, POINTS),
        "rotation, degrees": np.linspace(-90, 90, POINTS),
    }


def changed(images: Tensor, name: str, amount: float) -> Tensor:
    """Move, scale or rotate the content of images [N, C, H, W]; the border is repeated outside.

    Args:
        images: [N, C, H, W].
        name: one of `changes`.
        amount: pixels to the right or down, a scale factor, or degrees anticlockwise.
    """
    height, width = images.shape[2:]
    angle = math.radians(amount) if name.startswith("rotation") else 0.0
    zoom = amount if name == "scale" else 1.0
    across = amount if name.startswith("translation across") else 0.0
    down = amount if name.startswith("translation down") else 0.0
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Maps positions of the result in [-1, 1] to positions of the source.
    rows = [
        [cos, -sin * height / width, -2 * across / width],
        [sin * width / height, cos, -2 * down / height],
    ]
    matrix = torch.tensor([rows], dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def chosen_positives(positives: NDArray[np.bool_], *, seed: int, count: int = IMAGES) -> NDArray[np.int64]:
    """Return indices [count] of random positives."""
    shown = np.flatnonzero(positives)
    return np.random.default_rng([seed, 6]).permutation(shown)[:count]


def mean_response(activations: NDArray[np.floating[Any]], positives: NDArray[np.bool_]) -> float:
    """Return the mean of a unit's activations [N] over the distractors."""
    return float(activations[~positives].mean())
