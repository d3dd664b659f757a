"""Which batch sizes give a model's rows the same bits, found by trying on the device that serves.

The kernel that multiplies matrices is chosen by their sizes, and kernels add up in different orders. So the number of
rows in a forward pass may leak into the last bits of a row. Its neighbours and its place among them do so on few
devices. No library documents which sizes agree, but it can be tried: `prove` compares the rows of passes of many sizes,
in other orders and so among other neighbours, with those of the reference size. Forward passes then have proven sizes
only, and a row is the same alone, in company, in any request and in any job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128)  # steps so small that little is filled up
BUDGET_S = 60.0  # well below the time that a model may take to load
ROWS = 128  # compared for each size; another order of summation shows in almost every row


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The sizes of the forward passes of one model on one device.

    Attributes:
        reference: the size that defines the model's bits; it is part of the archive.
        proven: the sizes whose rows have the bits of the reference size, in rising order; always with the reference.
        free: whether a row's bits depend on nothing but the row. If not, rows keep their places in passes of the
            reference size, the only one in `proven`.
    """

    reference: int
    proven: tuple[int, ...]
    free: bool

    def passes(self, rows: int) -> Iterator[tuple[range, int]]:
        """Cut rows into passes: which rows, and the size of the pass, which may be larger than they are many."""
        first = 0
        while first < rows:
            left = rows - first
            size = next((size for size in self.proven if size >= left), self.proven[-1])
            yield range(first, min(first + size, rows)), size
            first += size


def fixed(reference: int) -> BatchSizes:
    """The sizes of a model of which nothing is proven."""
    return BatchSizes(reference, (reference,), free=False)


@torch.inference_mode()
def prove(
    forward: Callable[[Tensor], Tensor],
    rows: Tensor,
    reference: int,
    *,
    budget_s: float = BUDGET_S,
    told: Callable[[int, int], None] = lambda *_: None,
) -> BatchSizes:
    """Find the sizes whose rows have the bits of the reference size.

    Args:
        forward: the network, rows [n, ...] in and float results [n, ...] out, for any n.
        rows: different rows [N, ...] on the device, N at least the reference size.
        reference: the size that defines the bits.
        budget_s: sizes that are not tried within this many seconds are not proven.
        told: hears how many sizes were tried, and of how many.
    """
    end = time.monotonic() + budget_s
    expected = _in_passes(forward, rows, torch.arange(len(rows)), reference)

    def agrees(size: int) -> bool:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(size))
        found = _in_passes(forward, rows, order, size)
        return same_bits(found, expected[order])

    if not agrees(reference):
        return fixed(reference)
    proven = [reference]
    others = [size for size in LADDER if size != reference and size <= len(rows)]
    for tried, size in enumerate(others):
        told(tried, len(others))
        if time.monotonic() < end and agrees(size):
            proven.append(size)
    return BatchSizes(reference, tuple(sorted(proven)), free=True)


def _in_passes(forward: Callable[[Tensor], Tensor], rows: Tensor, order: Tensor, size: int) -> Tensor:
    """Compute the rows in an order, in passes of one size; the last pass is filled up with the first rows.

    Each pass is a tensor of its own, as in serving: a view would begin at another alignment in memory.
    """
    results = []
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        filled = torch.cat([chosen, order[: size - len(chosen)]])
        results.append(forward(rows[filled.to(rows.device)])[: len(chosen)].cpu())
    return torch.cat(results)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether floats are equal byte by byte, by which -0.0 differs from 0.0."""
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
