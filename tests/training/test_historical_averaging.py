"""The penalty on straying from the past."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.historical_averaging import HistoricalAveraging


def parameters_at(*values: float) -> list[Tensor]:
    return [torch.full((2,), value, requires_grad=True) for value in values]


def move_to(parameters: list[Tensor], *values: float) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.fill_(value)


def test_the_penalty_is_the_squared_distance_from_the_mean_of_past_values() -> None:
    parameters = parameters_at(1.0, 5.0)
    history = HistoricalAveraging(parameters)
    for values in [(1.0, 5.0), (2.0, 5.0), (6.0, 2.0)]:
        move_to(parameters, *values)
        history.update()

    move_to(parameters, 4.0, 4.5)

    # The means are 3 and 4; there are two entries of each.
    assert history.penalty().item() == pytest.approx(2 * (4 - 3) ** 2 + 2 * (4.5 - 4) ** 2)


def test_the_gradient_points_away_from_the_mean_which_stays_fixed() -> None:
    parameters = parameters_at(1.0)
    history = HistoricalAveraging(parameters)
    history.update()
    move_to(parameters, 4.0)

    history.penalty().backward()  # type: ignore[no-untyped-call]

    assert parameters[0].grad is not None
    assert parameters[0].grad.tolist() == [6.0, 6.0]


def test_before_the_first_update_there_is_no_penalty() -> None:
    history = HistoricalAveraging(parameters_at(3.0))

    penalty = history.penalty()

    assert penalty.item() == 0.0
    assert penalty.requires_grad


def test_the_values_at_the_start_are_no_part_of_the_mean() -> None:
    parameters = parameters_at(100.0)
    history = HistoricalAveraging(parameters)
    move_to(parameters, 2.0)

    history.update()

    assert history.penalty().item() == 0.0


def test_a_restored_history_goes_on_exactly_as_the_first() -> None:
    torch.manual_seed(0)
    first = [torch.randn(5, requires_grad=True)]
    history = HistoricalAveraging(first)
    for _ in range(7):
        with torch.no_grad():
            first[0].add_(torch.randn(5))
        history.update()
    saved = {name: tensor.clone() for name, tensor in history.state().items()}

    second = [first[0].detach().clone().requires_grad_()]
    resumed = HistoricalAveraging(second)
    resumed.restore(saved)
    with torch.no_grad():
        first[0].add_(1)
        second[0].add_(1)
    history.update()
    resumed.update()

    assert torch.equal(history.penalty(), resumed.penalty())
    assert all(torch.equal(tensor, resumed.state()[name]) for name, tensor in history.state().items())


def test_after_millions_of_steps_the_mean_still_moves() -> None:
    parameters = parameters_at(1.0)
    history = HistoricalAveraging(parameters)
    history.restore({"count": torch.tensor(50_000_000), "mean.0": torch.ones(2, dtype=torch.float64)})
    move_to(parameters, 1.5)

    history.update()

    moved = history.state()["mean.0"] - 1
    torch.testing.assert_close(moved, torch.full((2,), 0.5 / 50_000_001, dtype=torch.float64), atol=0, rtol=1e-6)
