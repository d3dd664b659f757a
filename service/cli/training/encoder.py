"""`mintage train encoder --data RUN`: what an encoder is trained on, a generator's run in place of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from service.cli.data_options import Splits

if TYPE_CHECKING:
    from training.data import Options
    from training.encoding import Guesses
    from training.families.encoder_training import GeneratedImages
    from training.recipes import EncoderRecipe, Recipe


def of_generator(recipe: Recipe, sources: list[str], options: Options) -> tuple[Recipe, Splits]:
    """Open the generator that an encoder learns to invert.

    Raises:
        TrainingError: if it is not one run of a generator, or options say how images are to be loaded.
    """
    from training.data import Options
    from training.encoding import of_generator as opened
    from training.errors import RecipeError

    if len(sources) != 1:
        raise RecipeError(f"{recipe.name} needs --data RUN, the run folder of one generator")
    if options != Options():
        raise RecipeError(f"{recipe.name} loads no images, so --size, --channels, --limit and the like have no meaning")
    filled, images = opened(cast("EncoderRecipe", recipe), Path(sources[0]))
    return filled, Splits(images, None)


def measured(run: Path, data: Splits) -> Guesses:
    """Measure an encoder on the images that it was not trained on."""
    from training.encoding import guesses

    return guesses(run, cast("GeneratedImages", data.train))


def sentence_of(found: Guesses) -> str:
    """Say how near the guesses of an encoder come."""
    return (
        f"of {found.images} other images it finds {found.found:.1%} of the latents' variance; what is drawn of its "
        f"guesses differs by {found.pixel_error:.1f} of 255 (root mean square)"
    )
