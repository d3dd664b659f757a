"""Receptive fields: which pixels a unit of a convolution can see, from the kernels, strides and paddings before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from handlers.compute.inside.activations import Window, watched


@dataclass(frozen=True, slots=True)
class Axis:
    """Receptive fields along one axis: unit i sees pixels step * i + first to step * i + first + size - 1."""

    size: int = 1
    step: int = 1
    first: int = 0

    def after(self, kernel: int, stride: int, padding: int) -> Self:
        """Return the fields of a convolution whose inputs have these ones."""
        return type(self)(
            size=self.size + (kernel - 1) * self.step, step=self.step * stride, first=self.first - padding * self.step
        )

    def span(self, unit: int, pixels: int) -> tuple[int, int]:
        """Return the first pixel that a unit sees and how many, cut off at the image's edges."""
        begin = self.step * unit + self.first
        first, end = max(begin, 0), min(begin + self.size, pixels)
        return first, end - first


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive fields of a layer's maps."""

    down: Axis = Axis()
    across: Axis = Axis()

    def after(self, window: Window) -> Self:
        """Return the fields of a convolution whose inputs have these ones."""
        down, across = zip(window.kernel, window.stride, window.padding, strict=True)
        return type(self)(self.down.after(*down), self.across.after(*across))


def fields_of(forward: Callable[[], Tensor]) -> list[Field | None]:
    """Run a forward pass and return the fields of each hidden layer; None for one whose units are no maps."""
    found: list[Field | None] = []
    field = Field()

    def note(_: int, units: Tensor) -> Tensor:
        found.append(field if units.ndim == 4 else None)
        return units

    def widen(window: Window) -> None:
        nonlocal field
        field = field.after(window)

    with torch.no_grad(), watched(note, widen):
        forward()
    return found
