"""Generates images from latents.

A sample's bytes depend on (weights, seed, index) alone. Where a row's bits depend on nothing but the row
(`BatchSizes.free`), the samples of all requests share passes, whatever their seeds, and only what is asked for is
computed. Where they do not, sample i keeps its place for ever: row i mod B of micro-batch i div B, among its own
neighbours; a request for samples 5 to 7 then computes micro-batch 0 whole and takes three rows. Sample i of a generator
that was trained on K classes with labels shows class i mod K.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.latents import latents
from handlers.compute.model import Model
from handlers.operations.work import Piece, Work, places
from handlers.protocol.images import to_pixels
from handlers.protocol.requests import Answer, Failure, Generate

Pixels = NDArray[np.uint8]
NOT_FINITE = Failure("error", "the model made an image that is not finite")


class LatentRows(Work, Protocol):
    """Work whose rows are latents."""

    def inputs(self, rows: range) -> list[NDArray[Any]]:
        """Return rows as the network takes them: latents float32 [n, Z], and if it is conditional classes int64 [n]."""

    def take(self, rows: range, pixels: Pixels, finite: NDArray[np.bool_]) -> None:
        """Take images uint8 [n, H, W, C], and whether each is finite, bool [n]; those not asked for are left out."""


class Samples:
    """Samples of a seed: the rows are latents. Where rows are not free, they are those of whole micro-batches."""

    def __init__(self, passes: SamplePasses, request: Generate, *, canary: bool = False) -> None:
        self.passes = passes
        self._request = request
        self._canary = canary
        self.alone = 0 if passes.model.sizes.free else passes.model.micro_batch
        step = self.alone or 1
        self._first = request.first_index // step * step
        self.rows = -(-(request.first_index + request.count - self._first) // step) * step
        self._parts: list[tuple[int, Pixels]] = []  # as passes end, with their first rows
        self._finite = True

    def inputs(self, rows: range) -> list[NDArray[Any]]:
        """Return rows as the network takes them."""
        config, first = self.passes.model.config, self._first + rows.start
        seed, size = self._request.seed, config.latent_size
        found: list[NDArray[Any]] = [latents(seed, first, len(rows), size, config.latent_distribution)]
        if classes := config.condition_classes:  # sample i shows class i mod K
            found.append((first % classes + np.arange(len(rows))) % classes)
        return found

    def take(self, rows: range, pixels: Pixels, finite: NDArray[np.bool_]) -> None:
        """Take images, and whether each is finite."""
        before = max(self._request.first_index - self._first - rows.start, 0)
        end = self._request.first_index - self._first + self._request.count - rows.start
        self._parts.append((rows.start, pixels[before:end]))
        if not finite[before:end].all():
            self._finite = False

    def answer(self) -> Answer | Failure:
        """Return the images."""
        if not self._finite:
            return NOT_FINITE
        if self._canary:
            return Answer()
        parts = [pixels for _, pixels in sorted(self._parts, key=operator.itemgetter(0))]
        return Answer(tensors={"images": parts[0] if len(parts) == 1 else np.concatenate(parts)})


class SamplePasses:
    """Computes samples of many requests in one forward pass."""

    name = "generate"

    def __init__(self, model: Model) -> None:
        self.model = model

    @torch.inference_mode()
    def compute(self, pieces: Sequence[Piece[LatentRows]], size: int) -> None:
        """Compute the pieces in one pass of a size, filled up with zeros."""
        images = self.images(*joined_inputs(pieces, size, self.model.device))  # [N, C, H, W]
        finite = torch.isfinite(images.float().flatten(1).sum(dim=1)).cpu().numpy()  # NaN and infinity spread
        pixels = to_pixels(images)
        for piece, place in places(pieces):
            piece.work.take(piece.rows, pixels[place], finite[place])

    def images(self, *inputs: Tensor) -> Tensor:
        """Map latents, and classes if the generator takes them, to images [N, C, H, W]."""
        images: Tensor = self.model.network(*inputs)
        return images


def joined_inputs(pieces: Sequence[Piece[Any]], size: int, device: torch.device) -> list[Tensor]:
    """Return the inputs of pieces side by side, filled up with zeros to a size."""
    filled: list[NDArray[Any]] = []
    for piece, place in places(pieces):
        inputs = piece.work.inputs(piece.rows)
        filled = filled or [np.zeros((size, *values.shape[1:]), values.dtype) for values in inputs]
        for row, values in zip(filled, inputs, strict=True):
            row[place] = values
    return [torch.from_numpy(row).to(device) for row in filled]
