"""What the steps of all families share: the protocol that the loop needs, and how a loss is descended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training import parallel

Losses = dict[str, float]  # by name, in the order in which people should read them


class Step(Protocol):
    """A generator's training against a discriminator; the same (weights, images seen) give the same step."""

    @property
    def generator(self) -> nn.Module:
        """The network that makes images, trained in place."""

    @property
    def discriminator(self) -> nn.Module:
        """The network that judges them, trained in place."""

    def initialise(self) -> None:
        """Set what depends on the data in fresh weights."""

    def __call__(self, images_seen: int, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step and return its losses.

        Args:
            images_seen: real images that the run has consumed so far; chooses the batch.
            noise: where latents, dropout and noise are drawn from.
            rate_share: what all learning rates are multiplied with, in [0, 1].
        """

    def settle(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Give averaged networks the statistics that go with their weights, and switch the generator to eval mode."""

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1]; if conditional, row i shows class i mod K."""

    def state(self) -> dict[str, Tensor]:
        """Return what the next step needs beside the networks' weights: moments of the optimisers and the like."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Take one step of an optimiser down a loss, at a learning rate."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    move(optimiser, rate)


def move(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Take one step of an optimiser along the gradients that are there, those of all processes."""
    settings: dict[str, Any] = optimiser.param_groups[0]
    settings["lr"] = rate
    parallel.average_gradients(settings["params"])
    optimiser.step()


def trained(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained; some scales are frozen."""
    return [weight for weight in network.parameters() if weight.requires_grad]


@contextlib.contextmanager
def constant(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without computing those of its weights."""
    weights = trained(network)
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def optimiser_state(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the moments and step counts of optimisers, by optimiser, number of the parameter, and name."""
    return {
        f"{owner}.{number}.{name}": tensor
        for owner, optimiser in optimisers.items()
        for number, state in optimiser.state_dict()["state"].items()
        for name, tensor in state.items()
        if isinstance(tensor, Tensor)
    }


def restore_optimisers(optimisers: Mapping[str, torch.optim.Optimizer], moments: Mapping[str, Tensor]) -> None:
    """Take over what `optimiser_state` returned; other tensors are left alone."""
    for owner, optimiser in optimisers.items():
        weights: list[Tensor] = optimiser.param_groups[0]["params"]
        state: dict[int, dict[str, Any]] = {}
        for number, name, tensor in _owned(owner, moments):
            state.setdefault(number, {})[name] = _laid_out_as(weights[number], tensor)
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _laid_out_as(weight: Tensor, moment: Tensor) -> Tensor:
    """Copy a moment into the memory format of its weight; a count is copied as it is."""
    return torch.empty_like(weight).copy_(moment) if moment.shape == weight.shape else moment.clone()


def _owned(owner: str, moments: Mapping[str, Tensor]) -> Iterable[tuple[int, str, Tensor]]:
    for key, tensor in moments.items():
        prefix, _, rest = key.partition(".")
        if prefix == owner:
            number, _, name = rest.partition(".")
            yield int(number), name, tensor
