"""Historical averaging: a penalty on parameters that stray from the mean of their past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class HistoricalAveraging:
    """|theta - (1/t) sum over i of theta[i]|^2 over the past values theta[1..t], Salimans et al. 2016, section 3.3.

    Added to each player's cost (arXiv:1606.03498), it gives the game a memory: players that orbit an equilibrium are
    pulled towards it.

    Args:
        parameters: theta, trained elsewhere. Before the first `update` the mean is their current values.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._parameters = list(parameters)
        # In float64: after many steps one value's share of the mean is below the rounding of float32.
        self._means = [parameter.detach().to(torch.float64, copy=True) for parameter in self._parameters]
        self._count = 0

    def penalty(self) -> Tensor:
        """Return the squared distance from the mean, a scalar >= 0 with a gradient for the parameters."""
        distances = [
            (parameter - mean.to(parameter.dtype)).square().sum()
            for parameter, mean in zip(self._parameters, self._means, strict=True)
        ]
        return torch.stack(distances).sum()

    @torch.no_grad()
    def update(self) -> None:
        """Include the current values in the mean; call it after each optimiser step."""
        self._count += 1
        for parameter, mean in zip(self._parameters, self._means, strict=True):
            mean.lerp_(parameter.to(mean.dtype), 1 / self._count)

    def state(self) -> dict[str, Tensor]:
        """Return t and the means, float64, for `restore`."""
        means = {f"mean.{number}": mean for number, mean in enumerate(self._means)}
        return {"count": torch.tensor(self._count), **means}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        self._count = int(state["count"].item())
        for number, mean in enumerate(self._means):
            mean.copy_(state[f"mean.{number}"])
