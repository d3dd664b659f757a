"""Explains what units respond to: guided gradients of images, and the places that excite feature maps most.

Both look inside the plain network, in passes of the reference size that a request has to itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from handlers.compute.inside.activations import watched
from handlers.compute.inside.fields import Field, fields_of
from handlers.compute.inside.guided import guided_gradients
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.images import ImagePasses, ImageWork
from handlers.protocol.images import check_shape
from handlers.protocol.messages import HEADER_BYTES
from handlers.protocol.requests import Answer, Explain, MapTarget, NeuronTarget, Peaks
from training.networks.sparse_autoencoder import SparseAutoencoder

Unit = Callable[[Tensor], Tensor]  # images [N, C, H, W] -> its values [N]


class Explaining:
    """Explains one model that takes images: a discriminator, a classifier or an autoencoder.

    Args:
        model: The model.
        max_bytes: Of an answer.
    """

    def __init__(self, model: Model, max_bytes: int) -> None:
        self._model = model
        self._max_numbers = (max_bytes - HEADER_BYTES) // 4

    def check(self, request: Explain | Peaks) -> None:
        """Check a request.

        Raises:
            RequestError: if its images are not of the model's shape, the model has no such unit, or the answer would be
                too large.
        """
        check_shape(request.images, self._model.image_shape)
        if isinstance(request, Peaks):
            self._model.check_layer(request.layer)
            numbers = len(request.images) * self._model.layers[request.layer - 1][0] * 5
        else:
            self._check_target(request)
            numbers = request.images.size + len(request.images)
        if numbers > self._max_numbers:
            raise RequestError(f"the answer about {len(request.images)} images would be too large; ask about fewer")

    def begin(self, request: Explain | Peaks) -> ImageWork:
        """Return the work of a checked request."""
        if isinstance(request, Peaks):
            return self._work("peaks", request, _Peaks(self._model, request.layer))
        return self._work("explain", request, _Explanation(self._model, request))

    def _work(self, name: str, request: Explain | Peaks, answering: _Explanation | _Peaks) -> ImageWork:
        passes = ImagePasses(self._model, name, answering.compute)
        work = ImageWork(passes, request.images, lambda results: results[0], answering.finish)
        work.alone = self._model.micro_batch
        return work

    def _check_target(self, request: Explain) -> None:
        match request.target:
            case NeuronTarget(stage, unit):
                shapes = self._model.unit_shapes
                if not 1 <= stage <= len(shapes) or not 0 <= unit < math.prod(shapes[stage - 1]):
                    raise RequestError(f"this model has no unit {unit} of a stage {stage}")
            case MapTarget(layer, number):
                self._model.check_layer(layer)
                if not 0 <= number < self._model.layers[layer - 1][0]:
                    raise RequestError(f"layer {layer} has {self._model.layers[layer - 1][0]} maps, and none {number}")
            case None if self._model.kind == "neurons":
                raise RequestError("an autoencoder is explained unit by unit: name one")
            case int() if request.target >= len(self._model.classes):
                raise RequestError(f"this model has {len(self._model.classes)} classes, and none {request.target}")


class _Explanation:
    """Guided gradients of images, and a unit's values for them."""

    def __init__(self, model: Model, request: Explain) -> None:
        self._model = model
        self._request = request

    def compute(self, images: Tensor) -> list[Tensor]:
        """Map images [N, C, H, W] to rows [N, C H W + 1]: the gradient of each, and the unit's value."""
        plain = self._model.plain
        network = plain.baseline if self._request.random else plain.network
        target = self._request.target
        sign = target.sign if isinstance(target, NeuronTarget) else 1
        gradients, values = guided_gradients(images, self._unit(network, sign))
        return [torch.cat((gradients.flatten(1), sign * values[:, None]), dim=1)]

    def finish(self, rows: Tensor) -> Answer:
        """Make the answer from all rows: `gradients` float32 [n, H, W, C] and `activations` float32 [n]."""
        gradients = _finite(rows)[:, :-1].view(-1, *self._model.config.image_shape).permute(0, 2, 3, 1)
        return Answer(
            tensors={
                "gradients": np.ascontiguousarray(gradients.numpy()),
                "activations": np.ascontiguousarray(rows[:, -1].numpy()),
            }
        )

    def _unit(self, network: nn.Module, sign: int) -> Unit:
        """Return the unit that is explained, of the plain network or of the baseline."""
        match self._request.target:
            case NeuronTarget(stage, unit):
                autoencoder = cast(SparseAutoencoder, network)
                return lambda batch: sign * autoencoder(batch)[stage - 1].flatten(1)[:, unit]
            case MapTarget(layer, number):
                return lambda batch: _maps(network, batch, layer)[:, number].flatten(1).amax(dim=1)
            case int(number):
                return lambda batch: cast(Tensor, network(batch))[:, number]
        if self._model.kind == "discriminator":
            conditional = bool(self._model.config.condition_classes)
            return lambda batch: _real(network(batch), conditional=conditional)

        def most_probable(batch: Tensor) -> Tensor:
            with torch.no_grad():  # the same class for the baseline
                classes = self._model.plain.network(batch).argmax(dim=1, keepdim=True)
            logits: Tensor = network(batch)
            return logits.gather(1, classes)[:, 0]

        return most_probable


class _Peaks:
    """Where each image excites each map of a layer most."""

    def __init__(self, model: Model, layer: int) -> None:
        self._model = model
        self._layer = layer

    def compute(self, images: Tensor) -> list[Tensor]:
        """Map images [N, C, H, W] to [N, 2, M]: the largest activation of each map, and its place."""
        maps = _maps(self._model.plain.network, images, self._layer).flatten(2)  # [N, M, places]
        highest = maps.max(dim=2)
        return [torch.stack((highest.values, highest.indices.float()), dim=1)]

    def finish(self, rows: Tensor) -> Answer:
        """Make the answer: `values` float32 [n, M], and `boxes` int32 [n, M, 4] of left, top, width and height."""
        _, _, columns = self._model.layers[self._layer - 1]
        height, width, _ = self._model.image_shape
        places = _finite(rows)[:, 1].long().numpy()
        field = self._field()
        down = np.array([field.down.span(row, height) for row in range(height)])
        across = np.array([field.across.span(column, width) for column in range(width)])
        vertical, horizontal = down[places // columns], across[places % columns]  # [n, M, 2]
        boxes = np.stack((horizontal[..., 0], vertical[..., 0], horizontal[..., 1], vertical[..., 1]), axis=-1)
        return Answer(tensors={"values": np.ascontiguousarray(rows[:, 0].numpy()), "boxes": boxes.astype(np.int32)})

    def _field(self) -> Field:
        shape = self._model.config.image_shape
        network = self._model.plain.network
        field = fields_of(lambda: network(torch.zeros(1, *shape, device=self._model.device)))[self._layer - 1]
        if field is None:
            raise RequestError(f"layer {self._layer} is fully connected: its units see the whole image")
        return field


def _maps(network: nn.Module, images: Tensor, layer: int) -> Tensor:
    """Return the activations of a layer for images [N, C, H, W]: [N, M, h, w], units that are no maps [N, M, 1, 1].

    A conditional discriminator judges each image once for each class; the activations are those of the first class.
    """
    found: list[Tensor] = []

    def note(number: int, units: Tensor) -> Tensor:
        if number == layer:
            found.append(units)
        return units

    with watched(note):
        network(images)
    [units] = found
    rows = units[:: len(units) // len(images)]
    return rows if rows.ndim == 4 else rows.flatten(1)[:, :, None, None]


def _real(logits: Tensor, *, conditional: bool) -> Tensor:
    """Return the logit [N] of "real" from logits [N, L].

    That of the class that it suits best if they are conditioned on the class. If they tell classes apart, p(generated)
    = 1 / (1 + sum exp l), so that it is their logsumexp (Salimans et al. 2016, section 5).
    """
    return logits.amax(dim=1) if conditional else logits.logsumexp(dim=1)


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError("the model's explanation is not finite")
    return values
