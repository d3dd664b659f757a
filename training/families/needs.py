"""What a training needs by count: weights, memory and computation, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

FLOAT_BYTES = 4  # weights, gradients and moments are float32 whatever the recipe's `precision` says


@dataclass(frozen=True, slots=True)
class Part:
    """A network, or a stage of one."""

    name: str
    units: int  # numbers that it puts out for one image
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a training needs by count, on one process."""

    parts: tuple[Part, ...]
    weights: int
    weight_bytes: int
    gradient_bytes: int
    moment_bytes: int  # of the optimiser
    average_bytes: int  # of the running averages of weights
    activation_bytes: int | None  # kept of a batch for the gradient; None where only a step can tell
    flop_per_image: float | None  # forward and backward, a multiplication and an addition being two; None likewise

    @property
    def total_bytes(self) -> int:
        """All of it at once."""
        held = self.weight_bytes + self.gradient_bytes + self.moment_bytes + self.average_bytes
        return held + (self.activation_bytes or 0)


def weight_count(network: nn.Module) -> int:
    """Return how many numbers a network's parameters hold."""
    return sum(weight.numel() for weight in network.parameters())
