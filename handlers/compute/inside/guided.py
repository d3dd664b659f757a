"""Guided backpropagation, Springenberg et al. 2014 (arXiv:1412.6806), for any rectifier.

At a ReLU the gradient passes where both the unit and the gradient are positive. In general: what comes back to an
activation is cut off below 0, then multiplied by the activation's slope, as in ordinary backpropagation. The slope of a
LeakyReLU or PReLU below 0 is its leak; of a maxout unit, 1 for the piece that won and 0 for the others. What is no
rectifier (pooling, normalisation, the logarithm of a softmax) has its ordinary gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from handlers.compute.inside.activations import watched


def guided_gradients(images: Tensor, unit: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the guided gradients [N, C, H, W] of a unit with respect to images [N, C, H, W], and its values [N].

    Args:
        images: of which each is judged alone: the unit's value for one does not depend on the others.
        unit: maps images to values [N].
    """
    with torch.inference_mode(False), torch.enable_grad():
        inputs = images.clone().requires_grad_(True)
        with watched(lambda _, units: _positive(units)):
            values = unit(inputs)
        [gradients] = torch.autograd.grad(values.sum(), inputs)
    return gradients, values.detach()


class _Positive(torch.autograd.Function):
    """The identity, whose gradient is cut off below 0."""

    @staticmethod
    def forward(ctx: Any, units: Tensor) -> Tensor:
        return units.view_as(units)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp(min=0)


def _positive(units: Tensor) -> Tensor:
    passed: Tensor = _Positive.apply(units)  # type: ignore[no-untyped-call]
    return passed
