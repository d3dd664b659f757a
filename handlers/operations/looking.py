"""Looks inside a generator: images without some feature maps, and activations at places of a layer.

Both are asked of the plain network, in passes of the reference size that a request has to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.formulas import evaluate
from handlers.compute.inside.activations import Masks, watched
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.drawing import classes_of
from handlers.operations.generation import SamplePasses, joined_inputs
from handlers.operations.work import Piece, places
from handlers.protocol.requests import Answer, Draw, Tap


class MaskedPasses(SamplePasses):
    """Computes images while some feature maps are 0; of one request alone."""

    name = "draw without maps"

    def __init__(self, model: Model, request: Draw) -> None:
        super().__init__(model)
        self._masks = Masks(drop=request.drop, keep=request.keep)

    def images(self, *inputs: Tensor) -> Tensor:
        """Map latents, and classes if the generator takes them, to images [N, C, H, W]."""
        with watched(self._masks.apply):
            images: Tensor = self.model.plain.network(*inputs)
        return images


def check_masks(model: Model, request: Draw) -> None:
    """Check that a generator has the maps that a request drops and keeps.

    Raises:
        RequestError: if it has not.
    """
    for named in (request.drop, request.keep):
        for layer, maps in named.items():
            model.check_layer(layer)
            there = model.layers[layer - 1][0]
            if not all(0 <= each < there for each in maps):
                raise RequestError(f"layer {layer} has {there} maps: {max(maps)} is none of them")


class Tapping:
    """The activations of all maps of a layer at places of the images of latents.

    Raises:
        RequestError: if the layer, a latent, a class or a place is not one of the model's.
    """

    def __init__(self, model: Model, request: Tap) -> None:
        model.check_layer(request.layer)
        config = model.config
        evaluated = evaluate(request.formulas, config.latent_size, config.latent_distribution)
        rows = evaluated.numbers.astype(np.float32)
        maps, height, width = model.layers[request.layer - 1]
        ends = np.array([len(rows), height, width])
        if not bool((request.places < ends).all()):
            raise RequestError(f"places must lie below [{len(rows)}, {height}, {width}]")
        classes = classes_of(config, Draw(request.formulas, request.class_index), evaluated.first_samples)
        self.passes = TapPasses(model, request.layer)
        self.rows = len(rows)
        self.alone = model.micro_batch
        self._inputs: list[NDArray[Any]] = [rows, *([classes] if config.condition_classes else [])]
        self._places = request.places
        self._found = np.empty((len(request.places), maps), np.float32)

    def inputs(self, rows: range) -> list[NDArray[Any]]:
        """Return rows as the network takes them."""
        return [values[rows.start : rows.stop] for values in self._inputs]

    def take(self, rows: range, activations: Tensor) -> None:
        """Take the activations [n, M, h, w] of rows."""
        here = (self._places[:, 0] >= rows.start) & (self._places[:, 0] < rows.stop)
        row, down, across = torch.from_numpy(self._places[here] - [rows.start, 0, 0]).unbind(dim=1)
        self._found[here] = activations[row, :, down, across].numpy()

    def answer(self) -> Answer:
        """Return `activations` float32 [places, M].

        Raises:
            NotFiniteError: if one is NaN or infinite.
        """
        if not bool(np.isfinite(self._found).all()):
            raise NotFiniteError("the model's activations are not finite")
        return Answer(tensors={"activations": self._found})


class TapPasses:
    """Computes the activations of a layer; of one request alone."""

    name = "tap"

    def __init__(self, model: Model, layer: int) -> None:
        self._model = model
        self._layer = layer

    @torch.inference_mode()
    def compute(self, pieces: Sequence[Piece[Tapping]], size: int) -> None:
        """Compute the pieces in one pass of a size, filled up with zeros."""
        found: list[Tensor] = []

        def note(layer: int, units: Tensor) -> Tensor:
            if layer == self._layer:
                found.append(units if units.ndim == 4 else units.flatten(1)[:, :, None, None])
            return units

        with watched(note):
            self._model.plain.network(*joined_inputs(pieces, size, self._model.device))
        activations = found[0].cpu()
        for piece, place in places(pieces):
            piece.work.take(piece.rows, activations[place])
