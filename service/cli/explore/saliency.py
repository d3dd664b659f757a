"""Boxes around what a served detector sees in images, from its guided gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mintage.client import Box
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from service.cli.described import described
from service.cli.explore.images import resized

if TYPE_CHECKING:
    from mintage.client import Client

BLUR = 0.06  # of an image's longer side: standard deviation of the blur that joins edges into an object
SHARE = 0.5  # of the strongest pixel's saliency that the others in a box have at least


def boxes_by(
    client: Client, detector: str, images: NDArray[np.uint8], *, concept: str | None, class_name: str | None
) -> list[Box]:
    """Return one box for each image uint8 [N, H, W, C] that shows what a detector looks for.

    Args:
        client: Of the API.
        detector: A loaded autoencoder, asked for a concept; a classifier, asked for a class; or a discriminator.
        images: What to look at; they are resized as the detector needs them.
        concept: Of an autoencoder.
        class_name: Of a classifier; None takes each image's most probable class.
    """
    shape = described(client, detector).shape
    seen = resized(images, shape)
    shows = np.ones(len(images), np.bool_)
    if concept is not None:
        shows = client.detect(detector, seen, concepts=[concept]).detected[:, 0]
    elif class_name is not None:
        answer = client.classify(detector, seen)
        shows = answer.probabilities.argmax(axis=1) == answer.classes.index(class_name)
    if not shows.any():
        return []
    found = client.guided_backprop(detector, seen[shows], class_name=class_name, unit=concept)
    _, height, width, _ = images.shape
    return [
        box_of(int(index), gradient, (height, width))
        for index, gradient in zip(np.flatnonzero(shows), found.gradients, strict=True)
    ]


def box_of(index: int, gradient: NDArray[np.float32], size: tuple[int, int]) -> Box:
    """Return the box, in an image of a size (height, width), around what is salient with the strongest pixel."""
    salient = _blurred(np.abs(gradient).sum(axis=2))
    region = _around(salient >= SHARE * salient.max(), np.unravel_index(int(salient.argmax()), salient.shape))
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    down, across = size[0] / region.shape[0], size[1] / region.shape[1]
    top, bottom = int(rows[0] * down), min(size[0], int(np.ceil((rows[-1] + 1) * down)))
    left, right = int(columns[0] * across), min(size[1], int(np.ceil((columns[-1] + 1) * across)))
    return Box(index, left, top, right - left, bottom - top)


def _blurred(salient: NDArray[np.float32]) -> NDArray[np.float32]:
    image = Image.fromarray((255 * salient / (salient.max() or 1.0)).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(BLUR * max(salient.shape)))
    return np.asarray(blurred, np.float32)


def _around(mask: NDArray[np.bool_], place: tuple[np.intp, ...]) -> NDArray[np.bool_]:
    """Return the part of a mask that hangs together with a place."""
    region = np.zeros_like(mask)
    region[place] = True
    while True:
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        grown &= mask
        if (grown == region).all():
            return region
        region = grown
