"""Linear support vector machines with squared hinge loss, one class against the rest, all classes at once.

    minimise  |w|^2 / 2 + C sum_i max(0, 1 - y_i (w . x_i + b))^2        y_i = 1 for the class, -1 for the rest

Newton's method on the primal problem, after Keerthi & DeCoste 2005, "A modified finite Newton method for fast solution
of large scale linear SVMs" (JMLR 6): the loss is quadratic between the points where an example's slack becomes 0, and
each step solves the linear equations of the active examples by conjugate gradients. Features are only multiplied by K
vectors, so nothing of their size is copied, and float32 stays float32. (LIBLINEAR, which solves the same problem, would
need seven times the memory: 16 bytes per entry, and a float64 copy.) Where there are more examples than features,
`preconditioner` makes the conjugate gradients short.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.probe.preconditioner import Preconditioner

NEWTON_STEPS = 60  # limit
GRADIENT_STEPS = 100  # limit of conjugate gradients per Newton step
FORCING = 0.1  # conjugate gradients stop at this share of the residual: early steps need no more
HALVINGS = 20  # limit; 2^-20 of a step is near float32's rounding


@dataclass(frozen=True, slots=True, eq=False)
class LinearMachine:
    """One hyperplane per class; scores are positive on the class's side."""

    weights: Tensor  # [K, F]
    biases: Tensor  # [K]

    def scores(self, features: Tensor) -> Tensor:
        """Map features [N, F] to scores [N, K]."""
        return torch.addmm(self.biases, features, self.weights.t())

    def with_shift(self, mean: Tensor) -> LinearMachine:
        """Return the equivalent machine for features from which a mean [F] was not subtracted."""
        shift = self.weights.double() @ mean.double()
        return LinearMachine(self.weights, (self.biases.double() - shift).to(self.biases.dtype))


def fit_machine(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    cost: float,
    scale: Tensor,
    start: LinearMachine | None = None,
    tolerance: float = 0.03,
    gram: Tensor | None = None,
) -> LinearMachine:
    """Fit the machine to `scale * features`; the weights returned are for the features as they are.

    The weights are penalised as those of the scaled features, and the biases are not penalised.

    Args:
        features: [N, F] float32, not changed and not copied. Centred ones converge faster.
        labels: [N] int64 in [0, K).
        classes: K.
        cost: C, the weight of the loss against that of the penalty, > 0.
        scale: [F], each >= 0; a feature with scale 0 has no part.
        start: where to begin, such as the machine of a smaller cost.
        tolerance: it ends once every class's gradient is as short, relative to the weights. The penalty makes the
            problem strongly convex, so that these weights are as near to the best, wherever it began.
        gram: [F, F], products of these features or of most of them, with which it takes fewer steps (`products`).
    """
    problem = _Problem(features, _signs(labels, classes, features.dtype), cost, scale)
    point = problem.zero() if start is None else problem.scaled(start)
    outputs = problem.outputs(point)
    before = None if gram is None else problem.preconditioner(gram, outputs)
    for _ in range(NEWTON_STEPS):
        slacks = (1 - problem.signs * outputs).clamp_min_(0)
        gradient = problem.gradient(point, problem.signs * slacks)
        unfinished = gradient.length() > tolerance * torch.linalg.vector_norm(point.weights, dim=1)  # [K]
        if not bool(unfinished.any()):
            break
        direction = problem.newton_direction(gradient, slacks > 0, before).times(unfinished.to(features.dtype))
        moved = problem.outputs(direction)
        steps = problem.step_lengths(point, outputs, direction, moved, gradient)  # [K]
        if not bool(steps.any()):
            break  # nothing more to gain in this precision
        point = point.plus(direction.times(steps))
        outputs.addcmul_(moved, steps[:, None])
    return LinearMachine(scale * point.weights, point.biases)


@dataclass(frozen=True, slots=True, eq=False)
class _Vector:
    """A point of the problem's space, or a direction in it, one for each of K classes."""

    weights: Tensor  # [K, F]
    biases: Tensor  # [K]

    def dot(self, other: _Vector) -> Tensor:
        """Return the K inner products."""
        by_class: Tensor = torch.linalg.vecdot(self.weights, other.weights)
        return by_class + self.biases * other.biases

    def length(self) -> Tensor:
        """Return the K Euclidean norms."""
        return self.dot(self).sqrt()

    def plus(self, other: _Vector) -> _Vector:
        return _Vector(self.weights + other.weights, self.biases + other.biases)

    def times(self, factors: Tensor) -> _Vector:
        """Multiply each class's part with its own factor of [K]."""
        return _Vector(self.weights * factors[:, None], self.biases * factors)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The K problems, in the space of the scaled features' weights."""

    features: Tensor  # [N, F]
    signs: Tensor  # [K, N], 1 for the class of the example and -1 for the rest
    cost: float
    scale: Tensor  # [F]

    def zero(self) -> _Vector:
        """Return the origin."""
        classes = len(self.signs)
        return _Vector(self.features.new_zeros(classes, self.features.shape[1]), self.features.new_zeros(classes))

    def scaled(self, machine: LinearMachine) -> _Vector:
        """Return the point of a machine for unscaled features."""
        weights = torch.where(self.scale > 0, machine.weights / self.scale, 0)
        return _Vector(weights, machine.biases)

    def outputs(self, point: _Vector) -> Tensor:
        """Return the scores [K, N] of all examples."""
        return torch.addmm(point.biases[:, None], self.scale * point.weights, self.features.t())

    def gradient(self, point: _Vector, signed_slacks: Tensor) -> _Vector:
        """Return the gradient where the examples' slacks times signs are [K, N]."""
        by_weights = self.scale * (signed_slacks @ self.features)
        return _Vector(
            point.weights - 2 * self.cost * by_weights,
            -2 * self.cost * signed_slacks.sum(1),
        )

    def preconditioner(self, gram: Tensor, outputs: Tensor) -> Preconditioner:
        """Return that of the share of examples that are active where the scores are [K, N]."""
        share = float((self.signs * outputs < 1).double().mean())
        examples = len(self.features)
        return Preconditioner.of(
            gram, examples=examples, scale=self.scale, cost=self.cost, share=max(share, 1 / examples)
        )

    def newton_direction(self, gradient: _Vector, active: Tensor, before: Preconditioner | None) -> _Vector:
        """Solve H d = -g by conjugate gradients, H = diag(1, .., 1, 0) + 2 C sum over active examples of x x'."""
        active = active.to(self.features.dtype)
        direction, residual = self.zero(), gradient.times(-torch.ones_like(gradient.biases))
        target = FORCING**2 * residual.dot(residual)
        conjugate = _conditioned(residual, before)
        square = residual.dot(conjugate)
        for _ in range(GRADIENT_STEPS):
            image = self.gradient(conjugate, active * self.outputs(conjugate) * -1)
            curvature = conjugate.dot(image)
            step = torch.where(curvature > 0, square / curvature, 0)
            direction = direction.plus(conjugate.times(step))
            residual = residual.plus(image.times(-step))
            if bool((residual.dot(residual) <= target).all()):
                break
            towards = _conditioned(residual, before)
            previous, square = square, residual.dot(towards)
            conjugate = towards.plus(conjugate.times(torch.where(previous > 0, square / previous, 0)))
        return direction

    def step_lengths(
        self, point: _Vector, outputs: Tensor, direction: _Vector, moved: Tensor, gradient: _Vector
    ) -> Tensor:
        """Return for each class the first of 1, 1/2, 1/4, .. that lowers the objective enough, 0 where none does."""
        slope = direction.dot(gradient).double()
        before = self._objective(point, outputs)
        steps = torch.ones_like(direction.biases)
        for _ in range(HALVINGS):
            after = self._objective(point.plus(direction.times(steps)), outputs + moved * steps[:, None])
            enough = after <= before + 1e-4 * steps * slope
            if bool(enough.all()):
                return steps * (slope < 0)
            steps = torch.where(enough, steps, steps / 2)
        return torch.where(enough & (slope < 0), steps, 0)

    def _objective(self, point: _Vector, outputs: Tensor) -> Tensor:
        """Return the K objectives as float64: their differences near the end are small."""
        penalty = point.weights.double().square().sum(1) / 2
        return penalty + self.cost * (1 - self.signs * outputs).clamp_min(0).double().square().sum(1)


def _conditioned(residual: _Vector, before: Preconditioner | None) -> _Vector:
    if before is None:
        return residual
    return _Vector(before.weights(residual.weights), residual.biases / before.bias)


def _signs(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return [K, N], 1 where the example is of the class and -1 elsewhere."""
    return torch.where(labels == torch.arange(classes, device=labels.device)[:, None], 1, -1).to(dtype)
