"""L2 pooling: the energy of neighbouring filters."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def l2_pooling(responses: Tensor, *, window: int, stride: int = 1, epsilon: float) -> Tensor:
    """P = sqrt(epsilon + sum of squares over a window of positions within each map), Le et al. 2012, eq. 1.

    Args:
        responses: [M, H, W, N] of linear filters.
        window: side of the square window, in positions.
        stride: positions between neighbouring windows.
        epsilon: > 0, keeps the square root smooth at 0.
    Returns: [M, H', W', N].
    """
    squares = responses.square().permute(0, 3, 1, 2)  # N acts as the channel dimension; the memory is not copied
    sums = functional.avg_pool2d(squares, window, stride, divisor_override=1)
    return (sums + epsilon).sqrt().permute(0, 2, 3, 1)
