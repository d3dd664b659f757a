"""The solver of linear support vector machines, against closed forms and the conditions of an optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from training.probe import machines, preconditioner
from training.probe.machines import LinearMachine, fit_machine
from training.probe.preconditioner import products

CLASSES = 3


def clusters(count: int = 120, size: int = 8, *, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, size, generator=random)
    return apart * centres[labels] + torch.randn(count, size, generator=random), labels


def signs(labels: Tensor) -> Tensor:
    return torch.stack([torch.where(labels == label, 1.0, -1.0) for label in range(CLASSES)])


@pytest.mark.parametrize("cost", [0.01, 0.3, 5.0])
def test_the_gradient_of_the_objective_vanishes_at_the_solution(cost: float) -> None:
    features, labels = clusters()
    found = fit_machine(features, labels, classes=CLASSES, cost=cost, scale=torch.full((8,), 0.5), tolerance=1e-4)
    weights = (found.weights / 0.5).double().requires_grad_()  # those of the scaled features
    biases = found.biases.double().requires_grad_()

    outputs = weights @ (0.5 * features).double().t() + biases[:, None]
    slacks = (1 - signs(labels) * outputs).clamp_min(0)
    (weights.square().sum() / 2 + cost * slacks.square().sum()).backward()  # type: ignore[no-untyped-call]

    assert weights.grad is not None
    assert biases.grad is not None
    assert weights.grad.abs().max() < 1e-3 * cost * len(labels)
    assert biases.grad.abs().max() < 1e-3 * cost * len(labels)


def test_where_every_example_has_slack_it_is_ridge_regression() -> None:
    features, labels = clusters()
    features -= features.mean(0)
    cost = 1e-4

    found = fit_machine(features, labels, classes=CLASSES, cost=cost, scale=torch.ones(8), tolerance=1e-6)

    targets, x = signs(labels).double(), features.double()
    weights = torch.linalg.solve(torch.eye(8) + 2 * cost * x.t() @ x, 2 * cost * x.t() @ targets.t()).t()
    assert (targets * found.scores(features).t() < 1).all()
    torch.testing.assert_close(found.weights.double(), weights, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(found.biases.double(), targets.mean(1), atol=1e-5, rtol=0)


def test_classes_that_can_be_told_apart_are() -> None:
    features, labels = clusters(apart=20.0)

    found = fit_machine(features, labels, classes=CLASSES, cost=10.0, scale=torch.ones(8))

    assert torch.equal(found.scores(features).argmax(1), labels)
    assert (signs(labels) * found.scores(features).t() > 0).all()


def test_a_scale_is_as_good_as_scaled_features() -> None:
    features, labels = clusters()
    scale = torch.linspace(0, 2, 8)

    scaled = fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=scale, tolerance=1e-5)
    plain = fit_machine(features * scale, labels, classes=CLASSES, cost=1.0, scale=torch.ones(8), tolerance=1e-5)

    torch.testing.assert_close(scaled.scores(features), plain.scores(features * scale), atol=1e-3, rtol=0)
    assert not scaled.weights[:, 0].any()


def test_it_ends_at_the_same_place_wherever_it_begins() -> None:
    features, labels = clusters()
    begin = fit_machine(features, labels, classes=CLASSES, cost=0.01, scale=torch.ones(8))

    warm = fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=torch.ones(8), start=begin, tolerance=1e-5)
    cold = fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=torch.ones(8), tolerance=1e-5)

    torch.testing.assert_close(warm.weights, cold.weights, atol=1e-3, rtol=0)


def test_a_machine_of_a_smaller_cost_is_no_end_in_itself() -> None:
    """A large cost has large gradients, beside which one that still has to move looks finished."""
    features, labels = clusters(count=300, size=200)
    scale = torch.full((200,), 200**-0.5)
    best = fit_machine(features, labels, classes=CLASSES, cost=100.0, scale=scale, tolerance=1e-5)
    begin = fit_machine(features, labels, classes=CLASSES, cost=30.0, scale=scale)

    warm = fit_machine(features, labels, classes=CLASSES, cost=100.0, scale=scale, start=begin)

    assert (warm.weights - best.weights).norm() < 0.04 * best.weights.norm()


def test_features_are_left_as_they_are_and_the_answer_is_the_same_again() -> None:
    features, labels = clusters()
    before = features.clone()

    one, other = (fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=torch.ones(8)) for _ in range(2))

    assert torch.equal(features, before)
    assert torch.equal(one.weights, other.weights)


def test_more_features_than_examples_are_no_obstacle() -> None:
    features, labels = clusters(count=9, size=200)

    found = fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=torch.full((200,), 200**-0.5))

    assert torch.equal(found.scores(features).argmax(1), labels)


def test_a_shifted_machine_takes_features_that_were_not_centred() -> None:
    features, mean = torch.randn(5, 4), torch.randn(4)
    machine = LinearMachine(torch.randn(CLASSES, 4), torch.randn(CLASSES))

    torch.testing.assert_close(machine.with_shift(mean).scores(features), machine.scores(features - mean))


@pytest.mark.parametrize("cost", [0.01, 1.0])
def test_it_is_the_machine_of_scikit_learn(cost: float) -> None:
    features, labels = clusters(300, 12)
    oracle = LinearSVC(C=cost, tol=1e-8, max_iter=100_000, intercept_scaling=1000.0)  # so that no bias is penalised
    oracle.fit(features.numpy(), labels.numpy())

    found = fit_machine(features, labels, classes=CLASSES, cost=cost, scale=torch.ones(12), tolerance=1e-5)

    np.testing.assert_allclose(found.weights.numpy(), oracle.coef_, atol=2e-3)
    np.testing.assert_allclose(found.biases.numpy(), oracle.intercept_, atol=2e-3)


def test_products_of_the_features_lead_to_the_same_machine_in_far_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters(2000, 60, apart=0.1)
    features @= torch.diag(torch.logspace(0, -2, 60))  # a few directions have most of the variance
    features -= features.mean(0)
    scale = torch.ones(60)
    passes: list[Tensor] = []
    outputs = machines._Problem.outputs

    def counted(problem: Any, point: Any) -> Tensor:
        passes.append(outputs(problem, point))
        return passes[-1]

    monkeypatch.setattr(machines._Problem, "outputs", counted)

    alone = fit_machine(features, labels, classes=CLASSES, cost=1.0, scale=scale, tolerance=1e-3)
    without = len(passes)
    found = fit_machine(
        features, labels, classes=CLASSES, cost=1.0, scale=scale, tolerance=1e-3, gram=products(features)
    )

    torch.testing.assert_close(found.weights, alone.weights, atol=1e-3, rtol=1e-3)
    assert len(passes) - without < without / 4


def test_products_are_those_of_all_features_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(20, 7)
    monkeypatch.setattr(preconditioner, "BLOCK", 3)

    torch.testing.assert_close(products(features).tril(), (features.t() @ features).tril())
