"""A small run of every family, as trainings write them, and how many samples of each are compared."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.runs import tiny_autoencoder, tiny_run
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe
from training.loop.loop import train
from training.probe.run import probe_run
from training.recipes import ProbeRecipe, recipe_named

SAMPLES = int(os.environ.get("MINTAGE_TEST_SAMPLES", "200"))  # more take longer, and show rarer differences
GENERATORS = ("nets", "dcgan", "plain", "digits")


def write_generators(folder: Path) -> Path:
    """Write the nets of 2014, DCGANs with and without classes, and a K+1 GAN, all of images 32 x 32 x 1."""
    data = blobs(side=32)
    train(small_adversarial_recipe(), data, folder / "nets")
    train(small_dcgan_recipe(conditional="yes"), data, folder / "dcgan")
    train(small_dcgan_recipe(), data, folder / "plain")
    tiny_run(folder / "digits")
    return folder


def write_readers(folder: Path) -> Path:
    """Write what answers about images, beside the generators: a probe, a K+1 GAN, an autoencoder."""
    recipe = recipe_named("probe").overridden({"validation_share": 0.2})
    assert isinstance(recipe, ProbeRecipe)
    probe_run(folder / "plain", blobs(side=32), folder / "probe", recipe=recipe, test=None)
    tiny_run(folder / "judge")
    tiny_autoencoder(folder / "eyes")
    return folder
