"""Batch normalisation without a scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ShiftOnlyBatchNorm(nn.BatchNorm1d):
    """Batch normalisation with a trained shift and no scale, Ioffe & Szegedy 2015 (arXiv:1502.03167).

    In front of a softplus or ReLU whose output is scaled again by the next layer the scale is redundant. Maps are
    normalised a channel, over examples and places.

    Args:
        features: F, or C of maps.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, affine=False)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the parent's parameter
        """Map [N, F] or [N, C, H, W] to the same shape; batch statistics in train mode, stored ones in eval mode."""
        return super().forward(input) + self.shift.view(-1, *[1] * (input.ndim - 2))

    def settle(self) -> None:
        """Forget the stored statistics; from now on they are the plain mean over the batches seen in train mode."""
        self.momentum = None
        self.reset_running_stats()

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the name of the parent's parameter
        if input.ndim not in (2, 4):
            raise ValueError(f"expected [N, F] or [N, C, H, W], got {list(input.shape)}")
