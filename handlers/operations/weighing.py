"""Directions from a generator's weights: a request with one row, since the first layer is computed for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from handlers.compute.inside.first_layer import WeightDirections, weight_directions
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.work import Piece
from handlers.protocol.requests import Answer
from handlers.protocol.requests import WeightDirections as Request


class Weighing:
    """Finds the directions of one generator, once."""

    name = "weight_directions"

    def __init__(self, model: Model) -> None:
        self._model = model

    def check(self, request: Request) -> None:
        """Check a request.

        Raises:
            RequestError: if it asks for more directions than a latent has numbers.
        """
        if request.count > self._model.config.latent_size:
            raise RequestError(f"count must be at most {self._model.config.latent_size}, not {request.count}")

    def begin(self, request: Request) -> WeighingWork:
        """Return the work of a checked request."""
        return WeighingWork(self, request)

    def compute(self, pieces: Sequence[Piece[WeighingWork]], size: int) -> None:
        """Find the directions."""
        for piece in pieces:
            piece.work.take(self._found)

    @functools.cached_property
    def _found(self) -> WeightDirections:
        config = self._model.config
        return weight_directions(
            self._model.plain.network, config.latent_size, config.latent_distribution, classes=config.condition_classes
        )


class WeighingWork:
    """One request."""

    rows = alone = 1

    def __init__(self, passes: Weighing, request: Request) -> None:
        self.passes = passes
        self._request = request
        self._found: WeightDirections | None = None

    def take(self, found: WeightDirections) -> None:
        """Take all directions."""
        self._found = found

    def answer(self) -> Answer:
        """Return the first `vectors` float64 [n, Z] and their `strengths` float64 [n].

        Raises:
            NotFiniteError: if one of them is not finite.
        """
        assert self._found is not None  # noqa: S101 - its row was computed
        count = self._request.count
        vectors, strengths = self._found.vectors[:count], self._found.strengths[:count]
        if not (np.isfinite(vectors).all() and np.isfinite(strengths).all()):
            raise NotFiniteError("the directions of the weights are not finite")
        return Answer(tensors={"vectors": vectors, "strengths": strengths})
