"""Weight normalisation: a layer's weight vectors as a direction and a length, Salimans & Kingma 2016.

The published equations and their sources are those of arXiv:1602.07868.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Literal["trained", "frozen"]
SMALLEST_DEVIATION = 1e-6  # keeps a unit that is constant over the batch finite


class _WeightNorm(nn.Module):
    """Base of the layers: w = g v / |v| per unit, Salimans & Kingma 2016, eq. 2, and its initialisation."""

    def __init__(self, direction: Tensor, *, units: int, scale: Scale) -> None:
        super().__init__()
        self.direction = nn.Parameter(direction)  # v
        self.scale = nn.Parameter(torch.ones(units), requires_grad=scale == "trained")  # g
        self.bias = nn.Parameter(torch.zeros(units))  # b

    @torch.no_grad()
    def initialise_from(self, inputs: Tensor, *, deviation: float = 1.0) -> Tensor:
        """Set g and b so that every unit has mean 0 and a given deviation over a batch, the paper's eq. 5 and 6.

        Args:
            inputs: the layer's input for a batch of training images, [N, in_features] or [N, C, H, W]; a channel is
                one unit over all positions.
            deviation: target standard deviation; 1 in the paper.

        Returns:
            The outputs after the initialisation.
        """
        self.scale.fill_(1.0)
        self.bias.zero_()
        outputs: Tensor = self(inputs)
        places = (1,) * (outputs.ndim - 2)
        found, mean = torch.std_mean(outputs, dim=(0, *range(2, outputs.ndim)), correction=0)
        shrink = found.clamp_min(SMALLEST_DEVIATION) / deviation
        self.scale.div_(shrink)
        self.bias.copy_(-mean / shrink)
        return (outputs - mean.view(-1, *places)) / shrink.view(-1, *places)


class _WeightNormLinear(torch.autograd.Function):
    """The equation of `WeightNormLinear` with a hand-written gradient: autograd's takes twice the time on a CPU.

    With a = x v', n = |v| and s = g / n the output is y = a s + b. From dL/dy = u follow dL/dx = (u s) v,
    dL/dg = sum(u a) / n, and dL/dv = (u s)' x - v (sum(u a) s / n^2): the part along v is taken out.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, direction: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(direction, dim=1)
        raw = functional.linear(inputs, direction)
        ctx.save_for_backward(inputs, direction, scale, norm, raw)
        return torch.addcmul(bias, raw, scale / norm)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, direction, scale, norm, raw = ctx.saved_tensors
        (upstream,) = gradients
        need_inputs, need_direction, need_scale, need_bias = ctx.needs_input_grad
        gain = scale / norm
        scaled = upstream * gain
        along = torch.linalg.vecdot(upstream, raw, dim=0) if need_direction or need_scale else None
        by_direction = by_scale = None
        if need_direction and along is not None:
            by_direction = (scaled.t() @ inputs).addcmul_(direction, (along * gain / norm**2)[:, None], value=-1)
        if need_scale and along is not None:
            by_scale = along / norm
        return (
            scaled @ direction if need_inputs else None,
            by_direction,
            by_scale,
            upstream.sum(0) if need_bias else None,
        )


class WeightNormLinear(_WeightNorm):
    """Linear layer y = x (g v / |v|)' + b, Salimans & Kingma 2016, eq. 2 (arXiv:1602.07868).

    With a frozen g the layer can rotate its weight vectors but not lengthen them, so a discriminator cannot inflate the
    features that the generator must match.

    Args:
        in_features: width of the input.
        out_features: number of units.
        scale: whether g is trained or stays as `initialise_from` set it.
        direction_std: standard deviation of the first v; 0.1 in Salimans et al. 2016.
    """

    def __init__(self, in_features: int, out_features: int, *, scale: Scale, direction_std: float = 0.1) -> None:
        direction = torch.empty(out_features, in_features).normal_(0.0, direction_std)
        super().__init__(direction, units=out_features, scale=scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, in_features] to [N, out_features]."""
        if torch.is_autocast_enabled(inputs.device.type):  # let autograd handle the casts
            gain = self.scale / torch.linalg.vector_norm(self.direction, dim=1)
            return torch.addcmul(self.bias, functional.linear(inputs, self.direction), gain)
        outputs: Tensor = _WeightNormLinear.apply(  # type: ignore[no-untyped-call]
            inputs, self.direction, self.scale, self.bias
        )
        return outputs


class WeightNormConv2d(_WeightNorm):
    """Convolution whose kernel of each output channel is g v / |v|, Salimans & Kingma 2016, eq. 2.

    The kernels are small compared with the maps, so normalising them is cheap and autograd's gradient suffices.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, the units.
        kernel: side of the square kernels, px.
        scale: whether g is trained or stays as `initialise_from` set it.
        stride: step between positions, px.
        padding: rows of zeros on each side, px.
        direction_std: standard deviation of the first v; 0.05 in the code of Salimans et al. 2016.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        scale: Scale,
        stride: int = 1,
        padding: int = 0,
        direction_std: float = 0.05,
    ) -> None:
        direction = torch.empty(out_channels, in_channels, kernel, kernel).normal_(0.0, direction_std)
        super().__init__(direction, units=out_channels, scale=scale)
        self.stride, self.padding = stride, padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H', W'], as torch's conv2d."""
        gain = self.scale / torch.linalg.vector_norm(self.direction, dim=(1, 2, 3))
        weight = self.direction * gain[:, None, None, None]
        return functional.conv2d(inputs, weight, self.bias, stride=self.stride, padding=self.padding)


class WeightNormConvTranspose2d(_WeightNorm):
    """Fractionally strided convolution whose kernel of each output channel is g v / |v|, Salimans & Kingma 2016, eq. 2.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, the units.
        kernel: side of the square kernels, px.
        scale: whether g is trained or stays as `initialise_from` set it.
        stride: step in the output per position of the input, px.
        padding: rows removed from each side of the output, px.
        output_padding: rows added at the output's lower and right side, px.
        direction_std: standard deviation of the first v; 0.05 in the code of Salimans et al. 2016.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        scale: Scale,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        direction_std: float = 0.05,
    ) -> None:
        direction = torch.empty(in_channels, out_channels, kernel, kernel).normal_(0.0, direction_std)
        super().__init__(direction, units=out_channels, scale=scale)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H', W'], as torch's conv_transpose2d."""
        gain = self.scale / torch.linalg.vector_norm(self.direction, dim=(0, 2, 3))
        return functional.conv_transpose2d(
            inputs,
            self.direction * gain[None, :, None, None],
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
        )
