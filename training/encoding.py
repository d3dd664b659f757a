"""Encoders: what an encoder is trained on, a generator and its latents, and what one has learnt.

The encoder minimises the squared distance between the latents that a run's generator draws images from and its guesses.
Every image is drawn once, so that it cannot be learnt by heart. `handlers.archive` packs it beside the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from training.batches import to_pixels, to_tensor
from training.config import RunConfig
from training.errors import RecipeError, RunError
from training.families import family_of
from training.families.encoder import EncoderFamily
from training.families.encoder_training import GeneratedImages
from training.latents import draw_latents
from training.losses import latent_loss
from training.networks.encoder import Encoder
from training.randomness import stream
from training.recipes import EncoderRecipe
from training.runs.checkpoint import ENCODER_SECTION, Run, load_run, run_digest, section, served_weights
from training.runs.files import encoded

HELD_OUT = 256  # images that no step draws
CONFIG = "config"  # of an encoder's run, in the header of its file beside other networks


@dataclass(frozen=True, slots=True)
class Guesses:
    """How near an encoder's guesses come, of images that it was not trained on.

    Attributes:
        found: share of the latents' variance.
        pixel_error: root mean square difference of the images' pixels, from 0 to 255.
        images: how many there were.
    """

    found: float
    pixel_error: float
    images: int


def of_generator(recipe: EncoderRecipe, run: Path) -> tuple[EncoderRecipe, GeneratedImages]:
    """Open a generator's run for an encoder; returns the recipe with what it takes from it, and what it is trained on.

    Raises:
        RecipeError: if the run trains no generator.
        RunError: if it is damaged, or has no generator's weights.
    """
    opened = load_run(run)
    config = opened.config
    if not config.settings.generates:
        raise RecipeError(f"{run} trains no generator, and an encoder needs one: its recipe is {config.recipe}")
    recipe = recipe.overridden(
        {
            "generator": run.resolve().name,
            "generator_digest": run_digest(opened),
            "latent_size": config.latent_size,
            "latent_distribution": config.latent_distribution,
            "conditional": "yes" if config.condition_classes else "no",
        }
    )
    generator = family_of(config).generator()
    try:
        generator.load_state_dict(served_weights(opened, "generator"))
    except RuntimeError as error:
        raise RunError(f"{run}: the weights do not fit the network: {' '.join(str(error).split())}") from None
    generator.eval().requires_grad_(False)
    noise = stream(recipe.seed, "held out")
    latents = draw_latents(HELD_OUT, config.latent_size, distribution=config.latent_distribution, generator=noise)
    labels = torch.arange(HELD_OUT) % max(config.condition_classes, 1)
    with torch.no_grad():
        images = to_pixels(generator(latents, *([labels] if config.condition_classes else [])))
    return recipe, GeneratedImages(
        images=images,
        labels=labels.numpy() if config.condition_classes else np.full(HELD_OUT, -1),
        classes=config.classes if config.condition_classes else (),
        name=run.resolve().name,
        latents=latents.numpy(),
        generator=generator,
    )


def packed(run: Path, *, generator_digest: str) -> bytes:
    """Return the file that holds an encoder beside the networks of its generator's run.

    Raises:
        RunError: if the run is damaged, holds no encoder, or one of another generator.
    """
    opened = load_run(run)
    start = f"{ENCODER_SECTION}."
    weights = {name: tensor for name, tensor in opened.weights.items() if name.startswith(start)}
    config = opened.config.portable()
    _must_be_of(opened, generator_digest)
    return encoded(weights, {CONFIG: config.to_json()})


def unpacked(path: Path, *, generator_digest: str) -> Encoder:
    """Read the file that `packed` returned, as an encoder in eval mode.

    Raises:
        RunError: if it is damaged, or holds an encoder of another generator.
    """
    try:
        opened: Any = safe_open(path, framework="pt")  # its methods carry no types
        with opened as file:
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names}
            config = RunConfig.from_json((file.metadata() or {})[CONFIG])
    except (SafetensorError, OSError, LookupError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); pack the run again") from None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise RunError(f"{path} holds a number that is not finite; pack the run again")
    run = Run(path, config, weights, 0)
    _must_be_of(run, generator_digest)
    return encoder_of(run)


def _must_be_of(run: Run, generator_digest: str) -> None:
    recipe = run.config.settings
    if not isinstance(recipe, EncoderRecipe):
        raise RunError(f"{run.path} holds no encoder: its recipe is {run.config.recipe}")
    if recipe.generator_digest != generator_digest:
        digests = f"digests {recipe.generator_digest[:12]} and {generator_digest[:12]}"
        raise RunError(
            f"{run.path} holds an encoder of {recipe.generator}, not of this run ({digests}): train one by "
            "`mintage train encoder --data RUN`"
        )


def encoder_of(run: Run) -> Encoder:
    """Build the encoder of a run, with its averaged weights, in eval mode.

    Raises:
        RunError: if the run holds none.
    """
    family = family_of(run.config)
    if not isinstance(family, EncoderFamily):
        raise RunError(f"{run.path} holds no encoder: its recipe is {run.config.recipe}")
    network = family.encoder()
    try:
        network.load_state_dict(section(run.weights, ENCODER_SECTION))
    except RuntimeError as error:
        raise RunError(f"{run.path}: the weights do not fit the network: {' '.join(str(error).split())}") from None
    return network.eval().requires_grad_(False)


@torch.no_grad()
def guesses(run: Path, data: GeneratedImages) -> Guesses:
    """Measure an encoder on the images that no step drew.

    Raises:
        RunError: if the run is damaged or holds no encoder.
    """
    opened = load_run(run)
    images = to_tensor(data.images)
    labels = [torch.from_numpy(data.labels)] if opened.config.condition_classes else []
    guessed = encoder_of(opened)(images, *labels)
    missed = latent_loss(guessed, torch.from_numpy(data.latents), distribution=opened.config.latent_distribution)
    drawn = to_pixels(data.generator(guessed, *labels)).astype(np.float64)
    error = np.sqrt(((drawn - data.images) ** 2).reshape(len(drawn), -1).mean(axis=1)).mean()
    return Guesses(found=1 - float(missed), pixel_error=float(error), images=len(data))
