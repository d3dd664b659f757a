"""Inverts images: a request takes a few steps of some starts, and carries where they are, so none takes long.

A step of STEP_ROWS rows through generator and discriminator, there and back in float32, takes as long as a forward pass
of 64 in bfloat16. Other work is done between two requests. A worker keeps nothing between
them: any worker of the model can go on, and nothing more is computed for a caller who has left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handlers.compute.inversion import Best, Float32s, Inversion, Opponents, Search
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.work import Piece
from handlers.protocol.images import check_shape, from_pixels
from handlers.protocol.requests import Answer, Invert
from training.networks.pair import Pair

STEP_ROWS = 4  # starts times steps of one request


class Inverter:
    """Answers the requests to invert images: of a discriminator, which has its generator, or a generator alone."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def check(self, request: Invert) -> None:
        """Check a request.

        Raises:
            RequestError: if its image or its latents are not of the model's shape, it takes too many steps, the model
                has no such class, or hidden units are to be compared and there is no discriminator.
        """
        config, model = self._model.config, self._model
        check_shape(request.images, model.image_shape)
        if len(request.images) != 1:
            raise RequestError(f"one image is inverted at a time, not {len(request.images)}")
        if request.starts * max(request.count, 1) > STEP_ROWS:
            raise RequestError(f"starts times count must be at most {STEP_ROWS}")
        if request.state is not None and request.state.shape != (3, request.starts, config.latent_size):
            raise RequestError(f"state must be three times {request.starts} latents of {config.latent_size} numbers")
        if request.class_index >= max(config.condition_classes, 1):
            raise RequestError(f"class must be below {max(config.condition_classes, 1)}, not {request.class_index}")
        if not request.pixels_only and model.kind != "discriminator":
            raise RequestError("a generator alone compares pixels only: ask its discriminator")

    def begin(self, request: Invert) -> InversionWork:
        """Return the work of a checked request."""
        return InversionWork(self._model, request)


class InversionWork:
    """Some steps of some starts; or the starts themselves, one pass for each."""

    def __init__(self, model: Model, request: Invert) -> None:
        self.passes = InversionPasses()
        self.rows = request.starts if request.state is None else request.starts * request.count
        self.alone = 1 if request.state is None else self.rows
        self._model = model
        self._request = request
        self._begun: list[Search] = []
        self._found: tuple[Search, Best] | None = None

    def compute(self, rows: range) -> None:
        """Choose the starts of some rows, or take all steps."""
        request = self._request
        image = from_pixels(request.images.copy(), self._model.device)  # a view of the request, which is read-only
        inversion = Inversion(self._opponents(), image, label=request.class_index)
        if request.state is None:
            self._begun.append(inversion.start(request.seed, request.first_start + rows.start, len(rows)))
        else:
            latents, means, squares = request.state
            search = Search(latents, means, squares, request.step)
            self._found = inversion.advance(search, request.count, request.steps)

    def answer(self) -> Answer:
        """Return `state` float32 [3, S, Z], and the best `latents` [S, Z] since the request with their `losses` [S].

        Of starts alone the losses are 0, since no step was taken.

        Raises:
            NotFiniteError: if a number of them is not finite.
        """
        if self._found is None:
            begun = np.concatenate([each.latents for each in self._begun])
            tensors = _tensors(Search(begun, np.zeros_like(begun), np.zeros_like(begun)), _unjudged(begun))
        else:
            tensors = _tensors(*self._found)
        if not all(np.isfinite(each).all() for each in tensors.values()):
            raise NotFiniteError("the search for a latent came to numbers that are not finite")
        return Answer(tensors=tensors)

    def _opponents(self) -> Opponents:
        config, network = self._model.config, self._model.plain.network
        generator, discriminator = network, None
        if isinstance(network, Pair):
            generator = network.generator
            discriminator = None if self._request.pixels_only else network.discriminator
        return Opponents(
            generator=generator,
            discriminator=discriminator,
            distribution=config.latent_distribution,
            size=config.latent_size,
            classes=config.condition_classes,
            encoder=self._model.encoder,
        )


class InversionPasses:
    """Computes one work's rows."""

    name = "invert"

    def compute(self, pieces: Sequence[Piece[InversionWork]], size: int) -> None:
        """Compute the rows of each piece."""
        for piece in pieces:
            piece.work.compute(piece.rows)


def _unjudged(latents: Float32s) -> Best:
    return Best(latents, np.zeros(len(latents), np.float32))


def _tensors(search: Search, best: Best) -> dict[str, Float32s]:
    state = np.stack([search.latents, search.means, search.squares])
    return {"state": state, "latents": best.latents, "losses": best.losses}
