"""Looks again, while a model is idle, whether its proven batch sizes still give the bits of the reference size.

A proof tries 128 rows once. What it could not see, such as a kernel that is chosen by the time of day or a core that
has begun to err, shows in the long run: each look takes new rows.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import torch

from handlers.compute.batch_sizes import BatchSizes, same_bits
from handlers.compute.model import Model
from handlers.compute.proofs import SEED, forward_of, rows_of

LOG = logging.getLogger("mintage.handlers")


class Rechecks:
    """Recomputes rows of one size after another at the reference size.

    Args:
        model: with proven sizes.
        withdraw: told the sizes that are left when one is withdrawn.
    """

    def __init__(self, model: Model, withdraw: Callable[[BatchSizes], None]) -> None:
        self.sizes = model.sizes
        self._model = model
        self._withdraw = withdraw
        self._forward = forward_of(model)
        self._looks = 0

    @torch.inference_mode()
    def recheck(self) -> BatchSizes:
        """Compare one size by two forward passes, and return the sizes that are good so far."""
        others = [size for size in self.sizes.proven if size != self.sizes.reference]
        if not others:
            return self.sizes
        self._looks += 1
        size = others[self._looks % len(others)]
        if not self._agrees(size):
            left = tuple(known for known in self.sizes.proven if known != size)
            self.sizes = dataclasses.replace(self.sizes, proven=left)
            LOG.error(
                "passes of %d rows no longer give the bits of passes of %d: that size is withdrawn, and answers since "
                "the model was loaded may differ in their last bits",
                size,
                self.sizes.reference,
            )
            self._withdraw(self.sizes)
        return self.sizes

    def _agrees(self, size: int) -> bool:
        """Compute new rows in a pass of a size and, in another order and company, in one of the reference size."""
        reference = self.sizes.reference
        rows = rows_of(self._model, max(size, reference), seed=SEED + self._looks).to(self._model.device)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self._looks))[:reference]
        chosen = order < size  # of the rows of the reference pass, which are in the other one too
        expected = self._forward(rows[order.to(rows.device)]).cpu()
        found = self._forward(rows[:size].clone()).cpu()
        return same_bits(found[order[chosen]], expected[chosen])
