"""Replaces layers of a network in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def swap(network: nn.Module, kind: type[Layer], make: Callable[[Layer], nn.Module]) -> None:
    """Replace every layer of a class; `make` may return the layer itself, which then stays."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, kind) and name:
            put(network, name, make(layer))


def put(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer where the network has one of that dotted name."""
    parent, _, own_name = name.rpartition(".")
    setattr(network.get_submodule(parent), own_name, layer)
