"""Drawn faces, drawn pictures of other things, and a small autoencoder's recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.recipes import RECIPES, SparseAutoencoderRecipe

SIDE = 16


def faces(count: int, *, seed: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    """Grey-brown ovals with two dark eyes and a dark mouth, uint8 [N, side, side, 3]."""
    random = np.random.default_rng(seed)
    down, across = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    oval = (across / 0.34) ** 2 + (down / 0.45) ** 2 < 1
    holes = [(-0.12, -0.14, 0.07), (-0.12, 0.14, 0.07), (0.2, 0.0, 0.1)]
    dark = np.any([(down - y) ** 2 + (across - x) ** 2 < r**2 for y, x, r in holes], axis=0)
    drawn = np.where(dark, 0.1, np.where(oval, 0.8, 0.4))
    return _coloured(np.repeat(drawn[None], count, axis=0), random)


def others(count: int, *, seed: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    """Five bright or dark discs at random places, uint8 [N, side, side, 3]."""
    random = np.random.default_rng([seed, 1])
    down, across = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    drawn = np.full((count, side, side), 0.4)
    for image in drawn:
        for _ in range(5):
            y, x, radius = random.uniform(-0.4, 0.4), random.uniform(-0.4, 0.4), random.uniform(0.08, 0.25)
            image[(down - y) ** 2 + (across - x) ** 2 < radius**2] = random.choice([0.1, 0.8])
    return _coloured(drawn, random)


def small_autoencoder_recipe(**fields: object) -> SparseAutoencoderRecipe:
    """The recipe of the face neuron with two tiny stages."""
    tiny: dict[str, object] = {
        "images": 1600,
        "batch": 32,
        "maps": (4, 4),
        "receptive_fields": (6, 3),
        "strides": (2, 1),
        "pools": (2, 2),
        "pool_strides": (1, 1),
        "sparsity": (1.0, 1.0),
        "contrast_window": 3,
        "report_images": 800,
        "checkpoint_images": 1600,
    }
    recipe = RECIPES["face-neuron"].overridden({**tiny, **fields})
    assert isinstance(recipe, SparseAutoencoderRecipe)
    return recipe


def _coloured(drawn: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.uint8]:
    """Give drawings [N, H, W] in [0, 1] a tint, a brightness and noise of their own."""
    tints = random.uniform(0.7, 1.2, (len(drawn), 1, 1, 3))
    noisy = drawn[..., None] * tints + random.normal(0, 0.03, (*drawn.shape, 3))
    pixels: NDArray[np.uint8] = np.rint(255 * noisy.clip(0, 1)).astype(np.uint8)
    return pixels
