"""Draws latents that are written as formulas: another way to make the rows that `generation` computes.

Where rows are free, latents share passes with samples and with each other. Where they are not, a plain sample keeps its
place among its own neighbours, as in `generation`; every other latent is row 0 of a micro-batch of its own, whose other
rows are zeros. So a formula is one image for ever there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.compute.formulas import evaluate
from handlers.compute.latents import latents
from handlers.errors import RequestError
from handlers.operations.generation import NOT_FINITE, Pixels, SamplePasses
from handlers.protocol.formulas import Formulas, SampleLatent
from handlers.protocol.requests import Answer, Draw, Failure
from training.config import RunConfig

Classes = NDArray[np.int64]


class Drawing:
    """Images of latents.

    Args:
        passes: Of the model.
        request: What to draw.
        own_passes: Whether no other request shares the passes, and rows are computed in their order.

    Raises:
        RequestError: if a latent or a class is not one of the model.
    """

    def __init__(self, passes: SamplePasses, request: Draw, *, own_passes: bool = False) -> None:
        model = passes.model
        config, formulas = model.config, request.formulas
        evaluated = evaluate(formulas, config.latent_size, config.latent_distribution)
        first_samples = evaluated.first_samples if config.condition_classes else (0,) * len(formulas.latents)
        rows = _Rows(evaluated.numbers.astype(np.float32), classes_of(config, request, first_samples))
        places = np.arange(len(rows.latents))
        if not model.sizes.free and not own_passes:
            rows, places = _placed(rows, formulas, model.micro_batch, config)
        self.passes = passes
        self.alone = 0 if model.sizes.free and not own_passes else model.micro_batch
        self.rows = len(rows.latents)
        self._inputs: list[NDArray[Any]] = [rows.latents, *([rows.classes] if config.condition_classes else [])]
        self._places = places
        self._images = np.empty((len(places), *model.image_shape), np.uint8)
        self._finite = True

    def inputs(self, rows: range) -> list[NDArray[Any]]:
        """Return rows as the network takes them."""
        return [values[rows.start : rows.stop] for values in self._inputs]

    def take(self, rows: range, pixels: Pixels, finite: NDArray[np.bool_]) -> None:
        """Take images, and whether each is finite."""
        here = (self._places >= rows.start) & (self._places < rows.stop)
        chosen = self._places[here] - rows.start
        self._images[here] = pixels[chosen]
        if not finite[chosen].all():
            self._finite = False

    def answer(self) -> Answer | Failure:
        """Return the images."""
        return Answer(tensors={"images": self._images}) if self._finite else NOT_FINITE


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a network: latents float32 [n, Z] and their classes [n], which are 0 if it takes none."""

    latents: NDArray[np.float32]
    classes: Classes


def classes_of(config: RunConfig, request: Draw, first_samples: Sequence[int]) -> Classes:
    """Return the class of each image, 0 for a generator that takes none.

    Raises:
        RequestError: if there is no such class.
    """
    known, count = config.condition_classes, len(first_samples)
    if request.class_index is not None:
        if request.class_index >= known:
            what = f"must be below {known}" if known else "must not be given: this generator takes no class"
            raise RequestError(f"class {what}, not {request.class_index}")
        return np.full(count, request.class_index)
    if not known:
        return np.zeros(count, np.int64)
    samples = first_samples if request.class_sample is None else [request.class_sample] * count
    return np.array([sample % known for sample in samples])


def _placed(rows: _Rows, formulas: Formulas, size: int, config: RunConfig) -> tuple[_Rows, NDArray[np.int64]]:
    """Give each latent its place in a micro-batch; returns the rows of all micro-batches, and which are the latents."""
    known = config.condition_classes
    blocks: dict[object, _Rows] = {}
    order: dict[object, int] = {}  # of the micro-batches
    places = []
    for number, latent in enumerate(formulas.latents):
        part, own = formulas.parts[latent], int(rows.classes[number])
        if isinstance(part, SampleLatent) and (not known or own == part.index % known):
            first = part.index // size * size
            key: object = (part.seed, first)
            block = blocks.get(key) or _samples(part.seed, first, size, config)
            place = part.index - first
        else:
            key, place = latent, 0
            block = _Rows(np.zeros((size, config.latent_size), np.float32), np.zeros(size, np.int64))
            block.latents[0], block.classes[0] = rows.latents[number], own
        blocks[key] = block
        places.append(order.setdefault(key, len(order)) * size + place)
    whole = [np.concatenate([getattr(block, each) for block in blocks.values()]) for each in _Rows.__slots__]
    return _Rows(*whole), np.array(places)


def _samples(seed: int, first: int, size: int, config: RunConfig) -> _Rows:
    """Return the micro-batch of samples from `first`."""
    known = config.condition_classes or 1
    rows = latents(seed, first, size, config.latent_size, config.latent_distribution)
    return _Rows(rows, (first % known + np.arange(size)) % known)
