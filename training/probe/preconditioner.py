"""What makes the linear machines' conjugate gradients short: their equations as if every example were active.

A Newton step of `machines` solves (I + 2 C sum over active examples of x x') d = -g for each class. Pooled maps of one
network resemble each other, so a few directions have most of the sum and conjugate gradients alone take hundreds of
passes over the features. With the Cholesky factor of I + 2 C s X'X in front, s the share of examples that are active,
they take a few: the same matrix serves all classes, and X'X is computed once for all costs and scalings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1024  # columns that are multiplied at a time: only the lower triangle is needed


def products(features: Tensor) -> Tensor:
    """Return X'X of features X [N, F], float32 [F, F]; above the diagonal blocks it is 0."""
    count = features.shape[1]
    found = features.new_zeros(count, count)
    for start in range(0, count, BLOCK):
        found[start:, start : start + BLOCK] = features[:, start:].t() @ features[:, start : start + BLOCK]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """The inverse of diag(1, .., 1, 0) + 2 C s sum of x x' over all examples, which are centred."""

    factor: Tensor  # [F, F], lower Cholesky factor
    bias: float  # 2 C s N

    @classmethod
    def of(cls, gram: Tensor, *, examples: int, scale: Tensor, cost: float, share: float) -> Preconditioner:
        """Factorise.

        Args:
            gram: [F, F], at least the lower triangle of X'X.
            examples: N.
            scale: [F], factors of the features.
            cost: C.
            share: s in (0, 1], of the examples that are active.
        """
        matrix = gram * (2 * cost * share * scale)
        matrix *= scale[:, None]
        matrix.diagonal().add_(1)
        torch.linalg.cholesky(matrix, out=matrix)
        return cls(matrix, 2 * cost * share * examples)

    def weights(self, residual: Tensor) -> Tensor:
        """Solve for the weights of K classes [K, F]."""
        return torch.cholesky_solve(residual.t(), self.factor).t()
