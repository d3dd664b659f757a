"""Sees every hidden activation of a network while it computes, whether it is written as a module or as a function.

Hooks on modules would miss the activations that a network calls as functions, in silence. So the functions themselves
are watched: torch tells a `TorchFunctionMode` of each, in the order in which the network computes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Each lets a signal pass or not. Squashing functions, such as a generator's last one, are none of them.
RECTIFIERS: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.relu,
        torch.relu,
        torch.relu_,
        Tensor.relu,
        Tensor.relu_,
        functional.leaky_relu,
        functional.leaky_relu_,
        functional.prelu,
        torch.prelu,
        Tensor.prelu,
        functional.softplus,
    }
)
MAXIMA: frozenset[Callable[..., Any]] = frozenset({torch.max, Tensor.max, torch.amax, Tensor.amax})
CONVOLUTIONS: frozenset[Callable[..., Any]] = frozenset({functional.conv2d})

Change = Callable[[int, Tensor], Tensor]  # a layer, from 1, and its activations -> what the network goes on with


@dataclass(frozen=True, slots=True)
class Window:
    """What one position of a convolution sees of its input, (down, across): kernel, stride and padding."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@contextlib.contextmanager
def watched(change: Change, windows: Callable[[Window], None] | None = None) -> Iterator[None]:
    """Inside the context, let `change` see and replace the activations of each hidden layer of one forward pass.

    Args:
        change: called with the layer, from 1, and its activations [N, ...].
        windows: called with each convolution's window, before the activations of its layer are seen.
    """
    with _Watch(change, windows):
        yield


def layer_shapes(forward: Callable[[], Tensor]) -> list[tuple[int, int, int]]:
    """Run a forward pass and return (maps, height, width) of each hidden layer; units that are no maps are 1 x 1."""
    found: list[tuple[int, int, int]] = []

    def note(_: int, units: Tensor) -> Tensor:
        found.append((units.shape[1], *units.shape[2:4]) if units.ndim == 4 else (units[0].numel(), 1, 1))
        return units

    with torch.no_grad(), watched(note):
        forward()
    return found


@dataclass(frozen=True, slots=True)
class Masks:
    """Which maps of which layers are set to 0: those in `drop`, and all but those in `keep`."""

    drop: Mapping[int, Sequence[int]]
    keep: Mapping[int, Sequence[int]]

    def apply(self, layer: int, units: Tensor) -> Tensor:
        """Set maps of a layer's activations [N, maps, ...] to 0."""
        if layer in self.drop:
            return units.index_fill(1, torch.tensor(list(self.drop[layer]), device=units.device), 0.0)
        if layer in self.keep:
            kept = torch.tensor(list(self.keep[layer]), device=units.device)
            return torch.zeros_like(units).index_copy(1, kept, units.index_select(1, kept))
        return units


class _Watch(TorchFunctionMode):
    """Calls back for each rectifier, maximum and convolution that is not part of another one's implementation."""

    def __init__(self, change: Change, windows: Callable[[Window], None] | None) -> None:
        super().__init__()
        self._change = change
        self._windows = windows
        self._layers = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in RECTIFIERS:
            return self._changed(found)
        if func in MAXIMA and _over_one_dimension(*args, **(kwargs or {})):  # maxout, Goodfellow et al. 2013
            return (
                type(found)((self._changed(found[0]), found[1])) if isinstance(found, tuple) else self._changed(found)
            )
        if func in CONVOLUTIONS and self._windows is not None:
            self._windows(_window(*args, **(kwargs or {})))
        return found

    def _changed(self, units: Tensor) -> Tensor:
        self._layers += 1
        return self._change(self._layers, units)


def _over_one_dimension(_: Tensor, dim: Any = None, *__: Any, **___: Any) -> bool:
    return isinstance(dim, int)


def _window(inputs: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, *_: Any) -> Window:
    down, across = weight.shape[2:]
    return Window((down, across), _two(stride), _two(padding))


def _two(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
