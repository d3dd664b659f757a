"""Which network gives the features that `mintage score` compares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.console import fail

if TYPE_CHECKING:
    from training.extractors.extractor import Extractor

MODELS = Path(__file__).parents[3] / "models"
DIGITS, PHOTOGRAPHS = MODELS / "digit-features", MODELS / "face-neuron"
DIGITS_SHAPE = (28, 28, 1)


def requested(
    folder: Path | None, *, inception: Path | None, inception_sha256: str | None, reference: str
) -> Extractor | None:
    """Load the extractor that was asked for; None if the images decide."""
    from training.extractors.digits import DigitFeatures
    from training.extractors.inception import KNOWN_SHA256, InceptionFeatures
    from training.extractors.photographs import PhotographFeatures
    from training.runs.checkpoint import WEIGHTS_FILE

    if inception is None and inception_sha256 is None:
        if folder is not None and (folder / WEIGHTS_FILE).exists():
            return PhotographFeatures.load(folder)
        return DigitFeatures.load(folder or DIGITS) if folder or reference == "digits" else None
    if inception is None or folder is not None:
        fail("give --inception FILE, with --inception-sha256 for another file than the published one, or --extractor")
    return InceptionFeatures.load(inception, sha256=inception_sha256 or KNOWN_SHA256)


def default_for(shape: tuple[int, int, int]) -> Extractor:
    """Load the shipped extractor of images of a shape (H, W, C): for grey ones of 28 x 28 that of digits."""
    from training.extractors.digits import DigitFeatures
    from training.extractors.photographs import PhotographFeatures

    return DigitFeatures.load(DIGITS) if shape == DIGITS_SHAPE else PhotographFeatures.load(PHOTOGRAPHS)
