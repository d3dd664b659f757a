"""One player of a game: a network, its optimiser, and the history of its weights if that is penalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.compute import parallel
from training.compute.sharding import share_like
from training.historical_averaging import HistoricalAveraging

HISTORY = "history."  # prefix of the names of a history's tensors


class Player:
    """A network and the optimiser that lowers its losses.

    Args:
        network: trained in place.
        optimiser: of the network's trained weights.
        historical_averaging: weight of the penalty of Salimans et al. 2016, section 3.3; 0 for
            none.
    """

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer, *, historical_averaging: float) -> None:
        self.network = network
        self.optimiser = optimiser
        self._weight = historical_averaging
        self._history = HistoricalAveraging(trained(network)) if historical_averaging else None

    def descend(self, loss: Tensor, rate: float) -> None:
        """Take one step that lowers a scalar loss, at a learning rate > 0."""
        self.optimiser.zero_grad(set_to_none=True)
        self._objective(loss).backward()  # type: ignore[no-untyped-call]
        self.move(rate)

    def compute_gradients(self, loss: Tensor) -> None:
        """Compute the gradient of a scalar loss without a step; its graph is kept for the other player."""
        self.optimiser.zero_grad(set_to_none=True)
        self._objective(loss).backward(  # type: ignore[no-untyped-call]
            inputs=trained(self.network), retain_graph=True
        )

    def move(self, rate: float) -> None:
        """Take one step along the current gradients, averaged over all processes."""
        settings: dict[str, Any] = self.optimiser.param_groups[0]
        settings["lr"] = rate
        parallel.average_gradients(settings["params"])
        self.optimiser.step()
        if self._history is not None:
            self._history.update()

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's state as `{parameter number}.{name}`, and the history."""
        moments = {
            f"{number}.{name}": tensor
            for number, state in self.optimiser.state_dict()["state"].items()
            for name, tensor in state.items()
            if isinstance(tensor, Tensor)
        }
        past = {} if self._history is None else self._history.state()
        return {**moments, **{HISTORY + name: tensor for name, tensor in past.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        weights: list[Tensor] = self.optimiser.param_groups[0]["params"]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if not key.startswith(HISTORY):
                number, _, name = key.partition(".")
                moments.setdefault(int(number), {})[name] = _laid_out_as(weights[int(number)], tensor)
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        if self._history is not None:
            past = {key.removeprefix(HISTORY): tensor for key, tensor in state.items() if key.startswith(HISTORY)}
            self._history.restore(past)

    def _objective(self, loss: Tensor) -> Tensor:
        """Add the penalty of historical averaging, if any."""
        return loss if self._history is None else loss + self._weight * self._history.penalty()


def trained(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained; frozen scales are left out."""
    return [weight for weight in network.parameters() if weight.requires_grad]


def state_of(players: Mapping[str, Player]) -> dict[str, Tensor]:
    """Return the state of players by name."""
    return {f"{name}.{key}": tensor for name, player in players.items() for key, tensor in player.state().items()}


def restore_players(players: Mapping[str, Player], state: Mapping[str, Tensor]) -> None:
    """Continue from what `state_of` returned."""
    for name, player in players.items():
        start = f"{name}."
        player.restore({key.removeprefix(start): state[key] for key in state if key.startswith(start)})


def _laid_out_as(weight: Tensor, moment: Tensor) -> Tensor:
    """Copy a moment into the memory format, or the share, of its weight; a count is copied unchanged."""
    if moment.shape != weight.shape:
        return moment.clone()
    return torch.empty_like(weight).copy_(share_like(weight, moment))
