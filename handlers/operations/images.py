"""Rows that are images: requests about images uint8 [N, H, W, C], computed in passes with those of other requests.

A pass is filled up with blank images. Where a row's bits depend on nothing but the row (`BatchSizes.free`), the answer
about an image is the same alone and in company. Where they do not, a request's images are computed among themselves, in
passes of the reference size: the answer is the same for equal requests, and its last bits may differ in others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.model import Model
from handlers.operations.work import Piece, places
from handlers.protocol.images import from_pixels
from handlers.protocol.requests import Answer, Failure

Read = Callable[[Sequence[Tensor]], Tensor]  # what one request wants of the results for its own rows, [n, ...]
Finish = Callable[[Tensor], Answer | Failure]  # its answer, from all its rows together, on the CPU


class ImageWork:
    """One request about images.

    Args:
        passes: what computes them.
        images: uint8 [N, H, W, C].
        read: picks what the request wants; called for the rows of each pass.
        finish: makes the answer.
    """

    def __init__(self, passes: ImagePasses, images: NDArray[np.uint8], read: Read, finish: Finish) -> None:
        self.passes = passes
        self.images = images
        self.rows = len(images)
        self.alone = 0 if passes.model.sizes.free else passes.model.micro_batch
        self._read = read
        self._finish = finish
        self._parts: list[tuple[int, Tensor]] = []  # as passes end, with their first rows

    def take(self, rows: range, results: Sequence[Tensor]) -> None:
        """Take the results [n, ...] for some rows."""
        self._parts.append((rows.start, self._read(results).cpu()))

    def answer(self) -> Answer | Failure:
        """Make the answer."""
        return self._finish(torch.cat([part for _, part in sorted(self._parts, key=operator.itemgetter(0))]))


class ImagePasses:
    """Computes images of many requests in one forward pass.

    Args:
        model: whose they are.
        name: the operation.
        function: maps images float32 [B, C, H, W] in [-1, 1] to results [B, ...] each.
    """

    def __init__(self, model: Model, name: str, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        self.model = model
        self.name = name
        self._function = function

    @torch.inference_mode()
    def compute(self, pieces: Sequence[Piece[ImageWork]], size: int) -> None:
        """Compute the pieces in one pass of a size."""
        rows = np.zeros((size, *self.model.image_shape), np.uint8)
        for piece, place in places(pieces):
            rows[place] = piece.work.images[piece.rows.start : piece.rows.stop]
        results = self._function(from_pixels(rows, self.model.device))
        for piece, place in places(pieces):
            piece.work.take(piece.rows, [result[place] for result in results])
