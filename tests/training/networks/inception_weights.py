"""Weights for the Inception network that are the same for ever, and under which every layer matters."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    """Random weights that neither explode nor vanish; NumPy promises never to change this generator's numbers."""
    random = np.random.RandomState(2015)
    return {name: _drawn(random, name, tensor.shape) for name, tensor in network.state_dict().items()}


def _drawn(random: np.random.RandomState, name: str, shape: torch.Size) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if name.endswith(("bn.weight", "bn.running_var")):
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith(("bias", "running_mean")):
        values = 0.1 * random.standard_normal(shape)
    else:
        values = random.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
    return torch.tensor(values, dtype=torch.float32)
