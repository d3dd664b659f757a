"""Initial weights."""

from __future__ import annotations

import math

from torch import nn


def uniform_glorot(linear: nn.Linear) -> nn.Linear:
    """Draw a linear layer's weights from Glorot & Bengio's uniform distribution, with zero bias, and return it."""
    bound = math.sqrt(6.0 / (linear.in_features + linear.out_features))
    nn.init.uniform_(linear.weight, -bound, bound)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear
