"""The places of a layer's maps inside and outside of boxes, from which feature maps are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mintage.v1.explanation_pb2 import Box
from numpy.typing import NDArray

from service.backend.protocol.neurons import UnitShape
from service.models.records import ModelRecord

MOST_PLACES = 4096  # inside, and outside
LEAST_PLACES = 2  # inside and outside together, to fit and to hold out
HELD_OUT = 5  # one image in so many, or one place if fewer images have boxes
SEED = 0  # of every choice


@dataclass(frozen=True, slots=True)
class Places:
    """Places of maps: half of them lie inside boxes, in what is held out too.

    Attributes:
        places: int64 [P, 3], number of the image, row and column, in order of the images.
        positive: bool [P], whether each lies inside a box.
        held_out: Indices of those by which accuracy is measured.
    """

    places: NDArray[np.int64]
    positive: NDArray[np.bool_]
    held_out: NDArray[np.int64]


def chosen_places(boxes: Sequence[Box], images: int, record: ModelRecord, shape: UnitShape) -> Places:
    """Choose places inside the boxes, and as many at random outside, of the same images and those without boxes.

    Args:
        boxes: Around the object, in pixels.
        images: How many there are.
        record: The generator.
        shape: Of the layer.
    """
    inside = inside_of(boxes, images, (record.height, record.width), (shape.height, shape.width))
    random = np.random.default_rng(SEED)
    hold = _held_out(inside, random)
    parts = []
    for held in (False, True):
        chosen = [np.argwhere(side & (hold == held)) for side in (inside, ~inside)]
        count = min(MOST_PLACES // (HELD_OUT if held else 1), *map(len, chosen))
        for side, there in zip((True, False), chosen, strict=True):
            kept = random.permutation(len(there))[:count]
            parts.append((there[kept], np.full(count, side), np.full(count, held)))
    places, positive, held_out = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.lexsort(places.T[::-1])
    return Places(places[order], positive[order], np.flatnonzero(held_out[order]))


def inside_of(boxes: Sequence[Box], images: int, size: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which places of maps lie inside boxes: bool [images, rows, columns].

    A place lies inside if the middle of the pixels that it stands for does. A box that is too small for any has the
    place that its own middle is in.

    Args:
        boxes: In pixels.
        images: How many there are.
        size: Of an image, (height, width).
        grid: Of the maps, (rows, columns).
    """
    inside = np.zeros((images, *grid), np.bool_)
    for box in boxes:
        rows = _span(box.top, box.height, size[0], grid[0])
        columns = _span(box.left, box.width, size[1], grid[1])
        inside[box.index, rows, columns] = True
    return inside


def _span(first: int, length: int, pixels: int, places: int) -> slice:
    """Return the places whose middles lie in a range of pixels."""
    middles = (np.arange(places) + 0.5) * pixels / places
    found = np.flatnonzero((middles >= first) & (middles < first + length))
    if len(found):
        return slice(int(found[0]), int(found[-1]) + 1)
    place = int((first + length / 2) * places / pixels)
    return slice(place, place + 1)


def _held_out(inside: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which places [images, rows, columns] are held out: those of every fifth image with boxes, and without.

    Where too few images have boxes, every fifth place inside and outside.
    """
    boxed: NDArray[np.bool_] = np.asarray(inside.any(axis=(1, 2)))
    if int(boxed.sum()) < HELD_OUT:
        return _every_fifth(inside, random) | _every_fifth(~inside, random)
    images = _every_fifth(boxed, random) | _every_fifth(~boxed, random)
    return np.broadcast_to(images[:, None, None], inside.shape)


def _every_fifth(chosen: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
    """Keep every fifth of those that are chosen, at random."""
    kept = np.zeros(chosen.size, np.bool_)
    kept[random.permutation(np.flatnonzero(chosen))[::HELD_OUT]] = True
    return kept.reshape(chosen.shape)
