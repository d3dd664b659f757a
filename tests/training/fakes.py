"""Small data and a small recipe that train in a blink."""

from __future__ import annotations

import numpy as np

from training.data import LabelledImages
from training.recipes import (
    RECIPES,
    AdversarialNetsRecipe,
    DcganRecipe,
    EncoderRecipe,
    ImprovedGanRecipe,
    SparseAutoencoderRecipe,
    StudentRecipe,
)


def blobs(count: int = 60, *, classes: int = 3, side: int = 6, seed: int = 0) -> LabelledImages:
    """Grey images with a bright block whose place is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    images = random.integers(0, 60, (count, side, side, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2, :, 0] = 220
    return LabelledImages(images, labels, tuple(f"block-{n}" for n in range(classes)), "blobs")


def small_recipe(**fields: object) -> ImprovedGanRecipe:
    """The digits recipe with tiny networks, ten steps long."""
    tiny: dict[str, object] = {
        "labels": 6,
        "images": 80,
        "labelled_batch": 4,
        "unlabelled_batch": 8,
        "initialise_images": 20,
        "latent_size": 5,
        "generator_widths": (7, 6),
        "discriminator_widths": (9, 8),
        "report_images": 16,
        "checkpoint_images": 40,
    }
    recipe = RECIPES["ssgan-digits"].overridden({**tiny, **fields})
    assert isinstance(recipe, ImprovedGanRecipe)
    return recipe


def small_adversarial_recipe(**fields: object) -> AdversarialNetsRecipe:
    """The 2014 recipe with tiny networks."""
    tiny: dict[str, object] = {
        "images": 160,
        "batch": 16,
        "latent_size": 5,
        "generator_widths": (7, 6),
        "discriminator_widths": (6, 5),
        "pieces": 2,
        "generator_range": 0.5,  # with so few units the published ranges leave no gradient above rounding
        "discriminator_range": 0.5,
        "report_images": 32,
        "checkpoint_images": 80,
    }
    recipe = RECIPES["gan-mnist"].overridden({**tiny, **fields})
    assert isinstance(recipe, AdversarialNetsRecipe)
    return recipe


def small_dcgan_recipe(**fields: object) -> DcganRecipe:
    """The DCGAN recipe with tiny networks."""
    tiny: dict[str, object] = {
        "images": 160,
        "batch": 16,
        "latent_size": 5,
        "generator_width": 4,
        "discriminator_width": 4,
        "report_images": 32,
        "checkpoint_images": 80,
    }
    recipe = RECIPES["dcgan32"].overridden({**tiny, **fields})
    assert isinstance(recipe, DcganRecipe)
    return recipe


def small_autoencoder_recipe(**fields: object) -> SparseAutoencoderRecipe:
    """The autoencoder's recipe with three tiny stages for grey images of 12 x 12."""
    tiny: dict[str, object] = {
        "images": 96,
        "batch": 8,
        "maps": (3, 4, 5),
        "receptive_fields": (4, 2, 2),
        "strides": (2, 1, 1),
        "pools": (2, 2, 1),
        "pool_strides": (1, 1, 1),
        "sparsity": (0.1, 0.2, 0.3),
        "contrast_window": 3,
        "input_window": 5,
        "report_images": 16,
        "checkpoint_images": 40,
    }
    recipe = RECIPES["face-neuron"].overridden({**tiny, **fields})
    assert isinstance(recipe, SparseAutoencoderRecipe)
    return recipe


def small_student_recipe(**fields: object) -> StudentRecipe:
    """The student's recipe with three tiny layers, ten steps long."""
    tiny: dict[str, object] = {
        "images": 160,
        "batch": 16,
        "widths": (4, 5, 6),
        "shift": 0.5,
        "rate": 0.01,
        "report_images": 32,
        "checkpoint_images": 80,
    }
    recipe = RECIPES["student"].overridden({**tiny, **fields})
    assert isinstance(recipe, StudentRecipe)
    return recipe


def small_encoder_recipe(**fields: object) -> EncoderRecipe:
    """The encoder's recipe with a tiny network, ten steps long."""
    tiny: dict[str, object] = {
        "images": 160,
        "batch": 16,
        "width": 4,
        "rate": 0.005,
        "report_images": 32,
        "checkpoint_images": 80,
    }
    recipe = RECIPES["encoder"].overridden({**tiny, **fields})
    assert isinstance(recipe, EncoderRecipe)
    return recipe
