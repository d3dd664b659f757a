"""A plain copy of a model's network: as it was trained, in float32, for what is asked about its inside.

What serves is rewritten for speed, layers folded into each other, and has none of its hidden activations any more. The
copy is made when it is first asked for, from the weights of the archive.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.config import RunConfig
from training.families import family_of
from training.randomness import fresh_weights
from training.recipes import Kind

BASELINE_SEED = 0  # of the weights of the network that explanations are compared with


class PlainNetworks:
    """The plain copy, and a network of the same form with random weights.

    Args:
        config: of the run.
        kind: of the model.
        weights: that fit its network.
        device: that computes.
    """

    def __init__(self, config: RunConfig, kind: Kind, weights: Mapping[str, Tensor], device: torch.device) -> None:
        self._config = config
        self._kind = kind
        self._weights = weights
        self._device = device

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network in eval mode; its weights take no gradient, its inputs may."""
        return self._made(self._weights)

    @functools.cached_property
    def baseline(self) -> nn.Module:
        """The same form with the initial weights of a fixed seed, the baseline of explanations."""
        return self._made(None)

    def _made(self, weights: Mapping[str, Tensor] | None) -> nn.Module:
        # Tensors of inference mode, in which passes are computed, could not be part of a gradient.
        with torch.inference_mode(False), fresh_weights(BASELINE_SEED):
            network = family_of(self._config).served(self._kind)
            if weights is not None:
                network.load_state_dict(dict(weights))
            return network.eval().requires_grad_(False).to(self._device)
