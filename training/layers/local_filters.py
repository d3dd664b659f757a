"""Untied local filters: each position of an image has its own filters, as in Le et al. 2012, section 3.

Patches are gathered and multiplied position by position, as batched matrix products. A dense matrix, masked outside the
receptive fields, gives the same numbers but costs (H W)^2 instead of H W f^2.

Two things make it fast. The batch is the innermost dimension, [C, H, W, N], so that gathering a patch copies contiguous
rows of N numbers. And a few rows of positions are computed at a time, so that their patches stay in the cache. They are
gathered again for the gradient, which is cheaper than keeping them: a batch's patches are f^2 times its images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Size of the patches that are held at a time; `meta` only counts.
BLOCK_BYTES = {"cpu": 1 * 2**20, "cuda": 512 * 2**20, "meta": 2**60}


Field = tuple[int, int]  # (f, g), height and width of a receptive field


class LocalFilters(nn.Module):
    """s = W1^T x with local receptive fields that share no weights, Le et al. 2012, eq. 1 (arXiv:1112.6209).

    Args:
        shape: (C, H, W) of the inputs; a filter sees all C maps.
        maps: M, filters at each position.
        field: side f of a receptive field, in pixels; a field is cut to inputs that are lower or narrower.
        stride: pixels between neighbouring fields; borders that no field fits into are ignored.

    Raises:
        ValueError: if a field is larger than the inputs both ways, or a number is not positive.
    """

    def __init__(self, shape: tuple[int, int, int], *, maps: int, field: int, stride: int = 1) -> None:
        super().__init__()
        channels, height, width = shape
        if min(*shape, maps, field, stride) < 1 or field > max(height, width):
            raise ValueError(f"{maps} maps of fields of {field}, {stride} apart, do not fit inputs {list(shape)}")
        self.field, self.stride = (min(field, height), min(field, width)), stride  # (f, g), lower or narrower if cut
        down, across = ((side - own) // stride + 1 for side, own in zip((height, width), self.field, strict=True))
        self.shape = maps, down, across  # (M, H', W') of the outputs
        inputs = channels * math.prod(self.field)
        self.weight = nn.Parameter(torch.empty(down, across, maps, inputs))  # [H', W', M, C f g]
        nn.init.normal_(self.weight, std=1 / math.sqrt(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [C, H, W, N] to [M, H', W', N]."""
        responses: Tensor = _Encoded.apply(inputs, self.weight, self.field, self.stride)  # type: ignore[no-untyped-call]
        return responses.permute(2, 0, 1, 3)

    def extra_repr(self) -> str:
        """Show the geometry in the printed module."""
        return f"outputs={self.shape}, field={self.field}, stride={self.stride}"


class LocalDecoder(nn.Module):
    """W2 s, the reconstruction from local filters: each position adds its patch to the image.

    Args:
        filters: whose responses are decoded. The decoder has its own weights, which start as the transposed filters
            with each pixel divided by the number of fields that see it, so that it starts as an average.
        shape: (C, H, W) of the reconstruction.
    """

    def __init__(self, filters: LocalFilters, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.field, self.stride, self.shape = filters.field, filters.stride, shape
        begin = filters.weight.detach()  # [H', W', M, K]
        cover = torch.zeros(*shape, 1)
        _add(cover, torch.ones(*begin.shape[:2], begin.shape[3], 1), 0, self.field, self.stride)
        shares = _patches(1 / cover.clamp(min=1), 0, begin.shape[0], self.field, self.stride)  # [H', W', K, 1]
        self.weight = nn.Parameter((begin.transpose(2, 3) * shares).contiguous())  # [H', W', K, M]

    def forward(self, responses: Tensor) -> Tensor:
        """Map [M, H', W', N] to [C, H, W, N]; pixels that no field sees are 0."""
        placed = responses.permute(1, 2, 0, 3)
        images: Tensor = _Decoded.apply(placed, self.weight, self.shape, self.field, self.stride)  # type: ignore[no-untyped-call]
        return images

    def extra_repr(self) -> str:
        """Show the geometry in the printed module."""
        return f"outputs={self.shape}, field={self.field}, stride={self.stride}"


class _Encoded(torch.autograd.Function):
    """[C, H, W, N] and weights [H', W', M, K] -> [H', W', M, N]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, field: Field, stride: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.geometry = field, stride
        responses = inputs.new_empty(*weight.shape[:3], inputs.shape[3])
        for first, last in _blocks(weight.shape[3], inputs, weight):
            patches = _patches(inputs, first, last, field, stride)
            _multiply(weight[first:last], patches, responses[first:last])
        return responses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (inputs, weight), (field, stride) = ctx.saved_tensors, ctx.geometry
        to_inputs = torch.zeros_like(inputs) if ctx.needs_input_grad[0] else None
        to_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        responses = upstream[0].contiguous()
        for first, last in _blocks(weight.shape[3], inputs, weight):
            patches = _patches(inputs, first, last, field, stride)
            if to_weight is not None:
                _multiply(responses[first:last], patches.transpose(2, 3), to_weight[first:last])
            if to_inputs is not None:
                _multiply(weight[first:last].transpose(2, 3), responses[first:last], patches)
                _add(to_inputs, patches, first, field, stride)
        return to_inputs, to_weight, None, None


class _Decoded(torch.autograd.Function):
    """[H', W', M, N] and weights [H', W', K, M] -> [C, H, W, N]; the transpose of `_Encoded`."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd knows no keywords
        ctx: Any, responses: Tensor, weight: Tensor, shape: tuple[int, int, int], field: Field, stride: int
    ) -> Tensor:
        responses = responses.contiguous()
        ctx.save_for_backward(responses, weight)
        ctx.geometry = field, stride
        images = responses.new_zeros(*shape, responses.shape[3])
        for first, last in _blocks(weight.shape[2], responses, weight):
            patches = weight.new_empty(last - first, *weight.shape[1:3], responses.shape[3])
            _multiply(weight[first:last], responses[first:last], patches)
            _add(images, patches, first, field, stride)
        return images

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (responses, weight), (field, stride) = ctx.saved_tensors, ctx.geometry
        images = upstream[0].contiguous()
        to_responses, to_weight = torch.empty_like(responses), torch.empty_like(weight)
        for first, last in _blocks(weight.shape[2], responses, weight):
            patches = _patches(images, first, last, field, stride)
            _multiply(weight[first:last].transpose(2, 3), patches, to_responses[first:last])
            _multiply(patches, responses[first:last].transpose(2, 3), to_weight[first:last])
        return to_responses, to_weight, None, None, None


def _blocks(inputs: int, batch: Tensor, weight: Tensor) -> Iterator[tuple[int, int]]:
    """Split the rows of positions into ranges (first, last) whose patches fit a block."""
    rows, row = weight.shape[0], weight.shape[1] * inputs * batch.shape[3] * batch.element_size()
    step = max(1, BLOCK_BYTES.get(batch.device.type, BLOCK_BYTES["cpu"]) // max(row, 1))
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def _patches(images: Tensor, first: int, last: int, field: Field, stride: int) -> Tensor:
    """Copy the patches of some rows of positions: [C, H, W, N] -> [last - first, W', C f g, N]."""
    high, wide = field
    strip = images[:, first * stride : (last - 1) * stride + high]
    fields = strip.unfold(1, high, stride).unfold(2, wide, stride)  # [C, rows, W', N, f, g]
    # Always a copy: for disjoint fields it could be a view, and the patches are overwritten.
    return fields.permute(1, 2, 0, 4, 5, 3).clone(memory_format=torch.contiguous_format).flatten(2, 4)


def _add(images: Tensor, patches: Tensor, first: int, field: Field, stride: int) -> None:
    """Add patches [rows, W', C f g, N] of some rows of fields to images [C, H, W, N]."""
    rows, columns = patches.shape[:2]
    # [f, g, C, rows, W', N]
    offsets = patches.view(rows, columns, len(images), *field, -1).permute(3, 4, 2, 0, 1, 5)
    for down in range(field[0]):
        top = first * stride + down
        strip = images[:, top : top + (rows - 1) * stride + 1 : stride]
        for across in range(field[1]):
            strip[:, :, across : across + (columns - 1) * stride + 1 : stride] += offsets[down, across]


def _multiply(one: Tensor, other: Tensor, out: Tensor) -> None:
    """Write the products of matrices [rows, W', A, B] and [rows, W', B, C] into [rows, W', A, C]."""
    torch.bmm(one.flatten(0, 1), other.flatten(0, 1), out=out.flatten(0, 1))
