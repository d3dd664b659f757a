"""Directions from the weights alone: what changes the first layer of a generator most, Shen and Zhou 2021 (SeFa).

The first layer maps latents z to A z + b, its normalisation included. Moving z along a unit vector v changes that by
A v, whatever z is; so the eigenvectors of A'A, by falling eigenvalue, are the directions that change the layer's
outputs most. The published form scales the rows of A to one length; here the normalisation behind the layer does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handlers.compute.latents import CENTRES, DEVIATIONS, Distribution

Float64s = NDArray[np.float64]

STEP = 1e-3  # of a difference quotient, in float64: exact to 1e-12 where the layer is linear


@dataclass(frozen=True, slots=True)
class WeightDirections:
    """Directions of a generator, the most effective first.

    Attributes:
        vectors: float64 [n, Z], each one standard deviation of the latents long.
        strengths: float64 [n], the variance of the layer's outputs along each, as a share of the first one's.
    """

    vectors: Float64s
    strengths: Float64s


def weight_directions(
    generator: nn.Module, size: int, distribution: Distribution, *, classes: int = 0
) -> WeightDirections:
    """Return the directions that change the outputs of a generator's first layer, as many as a latent has numbers.

    Args:
        generator: as it was trained, in eval mode.
        size: Z, numbers of a latent.
        distribution: of latents. The layer is taken at its centre, which matters for virtual batch normalisation only.
        classes: K of a conditional generator, else 0; directions do not depend on the class.
    """
    slopes = first_layer(generator, size, distribution, classes=classes)
    variances, vectors = np.linalg.eigh(slopes.T @ slopes)  # rising
    vectors = np.ascontiguousarray(vectors.T[::-1])
    largest = np.abs(vectors).argmax(axis=1)
    vectors *= np.sign(vectors[np.arange(size), largest])[:, None]  # of v and -v, that whose largest number is positive
    variances = np.maximum(variances[::-1], 0.0)
    shares = variances / variances[0] if variances[0] else variances
    return WeightDirections(vectors * DEVIATIONS[distribution], shares)


def first_layer(generator: nn.Module, size: int, distribution: Distribution, *, classes: int = 0) -> Float64s:
    """Return A [outputs, Z] of a generator's first layer, normalisation included, on any network of our families."""
    network = copy.deepcopy(generator).double().eval()
    device = next(network.parameters()).device
    steps = STEP * torch.eye(size, dtype=torch.float64, device=device)
    ends = CENTRES[distribution] + torch.cat([steps, -steps])  # [2 Z, Z]
    labels = [torch.zeros(len(ends), dtype=torch.long, device=device)] if classes else []
    with torch.no_grad():
        outputs = _FirstOutputs(network).of(ends, *labels).flatten(1)
    slopes = (outputs[:size] - outputs[size:]) / (2 * STEP)
    found: Float64s = slopes.T.cpu().numpy()
    return found


class _EnoughError(Exception):
    """Raised to leave a forward pass behind its first layer."""


class _FirstOutputs:
    """Runs a network up to the end of its first layer, that is its first module with weights, and normalisation."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._outputs: Tensor | None = None
        norms = getattr(network, "norms", None)
        self._norms: set[nn.Module] = set(norms) if isinstance(norms, nn.ModuleList) else set()

    def of(self, *inputs: Tensor) -> Tensor:
        """Return the first layer's outputs."""
        leaves = [each for each in self._network.modules() if not list(each.children())]
        hooks = [leaf.register_forward_hook(self._see) for leaf in leaves]
        try:
            self._network(*inputs)
        except _EnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        assert self._outputs is not None  # noqa: S101 - a generator has layers
        return self._outputs

    def _see(self, module: nn.Module, _: Any, outputs: Tensor) -> None:
        if self._outputs is None:
            self._outputs = outputs
            if not self._norms:
                raise _EnoughError
            return
        if module in self._norms:
            self._outputs = outputs
        raise _EnoughError
