"""Batch normalisation over the whole batch, including the shares of other processes; and a form without scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.compute import parallel


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of maps per channel, Ioffe & Szegedy 2015 (arXiv:1502.03167), over all processes' shares."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the parent's parameter
        """Map [N, C, H, W] to the same shape; batch statistics in train mode, stored ones in eval mode."""
        if not (self.training and parallel.is_sharing()):
            return super().forward(input)
        return _normalised_over_all(self, input) * _as_maps(self.weight, input) + _as_maps(self.bias, input)


class ShiftOnlyBatchNorm(nn.BatchNorm1d):
    """Batch normalisation with a trained shift and no scale, Ioffe & Szegedy 2015 (arXiv:1502.03167).

    Before a softplus or ReLU, the next layer's weights make a scale redundant. Maps are normalised per channel, over
    examples and positions, over the shares of all processes.

    Args:
        features: F of vectors, or C of maps.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, affine=False)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the parent's parameter
        """Map [N, F] or [N, C, H, W] to the same shape; batch statistics in train mode, stored ones in eval mode."""
        shared = self.training and parallel.is_sharing()
        normalised = _normalised_over_all(self, input) if shared else super().forward(input)
        return normalised + _as_maps(self.shift, input)

    def reset_statistics(self) -> None:
        """Discard the stored statistics; from now on they are the plain mean over batches seen in train mode."""
        self.momentum = None
        self.reset_running_stats()

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the name of the parent's parameter
        if input.ndim not in (2, 4):
            raise ValueError(f"expected [N, F] or [N, C, H, W], got {list(input.shape)}")


def _normalised_over_all(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """Normalise this process's share [N, F] or [N, C, H, W] by the statistics of all shares, and store these.

    A share's variance and the square of its mean's distance from the common mean add up without cancellation.
    """
    inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    shares = torch.stack(torch.var_mean(inputs, dim=(0, *range(2, inputs.ndim)), correction=0))  # [2, F]
    variances, means = parallel.global_rows(shares[None]).unbind(dim=1)  # [processes, F] each
    mean = means.mean(dim=0)
    variance = (variances + (means - mean).square()).mean(dim=0)
    _store(norm, mean.detach(), variance.detach(), count=parallel.processes() * inputs.numel() // len(mean))
    return (inputs - _as_maps(mean, inputs)) * _as_maps((variance + norm.eps).rsqrt(), inputs)


@torch.no_grad()
def _store(norm: _BatchNorm, mean: Tensor, variance: Tensor, *, count: int) -> None:
    """Move the stored statistics as torch's own batch normalisation does, with the variance of `count` values."""
    stored_mean, stored_variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if stored_mean is None or stored_variance is None or batches is None or norm.momentum is None:
        raise ValueError("batch normalisation over several processes needs stored statistics and a momentum")
    stored_mean.lerp_(mean, norm.momentum)
    stored_variance.lerp_(variance * (count / (count - 1)), norm.momentum)
    batches += 1


def _as_maps(values: Tensor, inputs: Tensor) -> Tensor:
    """View one value per feature [F] so that it broadcasts over [N, F] or [N, C, H, W]."""
    return values.view(-1, *[1] * (inputs.ndim - 2))
