"""Which batch sizes give the same bits: a size that is off by one bit in one row is never used."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from handlers.compute.batch_sizes import LADDER, ROWS, BatchSizes, fixed, prove

ROWS_OF_FOUR = torch.rand((ROWS, 4), generator=torch.Generator().manual_seed(1))


def doubled(rows: Tensor) -> Tensor:
    return rows * 2


def test_a_row_that_depends_on_nothing_else_may_ride_in_every_size() -> None:
    assert prove(doubled, ROWS_OF_FOUR, 64) == BatchSizes(64, LADDER, free=True)


def test_a_network_that_is_too_slow_to_try_them_all_rides_in_the_reference_size() -> None:
    assert prove(doubled, ROWS_OF_FOUR, 64, budget_s=0.0) == BatchSizes(64, (64,), free=True)


def test_a_reference_size_outside_the_ladder_is_one_of_the_sizes() -> None:
    assert prove(doubled, ROWS_OF_FOUR, 23).proven == tuple(sorted([*LADDER, 23]))


def test_a_size_with_one_other_bit_in_one_row_is_not_proven() -> None:
    def off(rows: Tensor) -> Tensor:
        found = rows * 2
        if len(rows) == 8:
            unlucky = (rows == ROWS_OF_FOUR[77]).all(dim=1)
            found[unlucky, 3] = torch.nextafter(found[unlucky, 3], torch.tensor(9.0))
        return found

    assert prove(off, ROWS_OF_FOUR, 64).proven == tuple(size for size in LADDER if size != 8)


def test_a_zero_of_another_sign_is_another_bit() -> None:
    def off(rows: Tensor) -> Tensor:
        return torch.zeros_like(rows) if len(rows) != 4 else -torch.zeros_like(rows)

    assert 4 not in prove(off, ROWS_OF_FOUR, 64).proven


@pytest.mark.parametrize("where", ["neighbour", "place"])
def test_a_model_whose_rows_depend_on_others_or_on_their_place_keeps_its_micro_batches(where: str) -> None:
    def leaky(rows: Tensor) -> Tensor:
        leak = rows.roll(1, dims=0) if where == "neighbour" else torch.arange(len(rows))[:, None]
        return rows + leak * 1e-3

    assert prove(leaky, ROWS_OF_FOUR, 64) == fixed(64) == BatchSizes(64, (64,), free=False)


@given(st.integers(0, 1000), st.sets(st.sampled_from(LADDER), min_size=1).map(lambda sizes: tuple(sorted(sizes))))
def test_passes_cover_every_row_once_in_order(rows: int, proven: tuple[int, ...]) -> None:
    passes = list(BatchSizes(proven[0], proven, free=True).passes(rows))
    assert list(itertools.chain.from_iterable(taken for taken, _ in passes)) == list(range(rows))
    assert all(0 < len(taken) <= size and size in proven for taken, size in passes)
    assert all(len(taken) == size for taken, size in passes[:-1])


def test_a_few_rows_ride_in_the_smallest_size_that_holds_them() -> None:
    sizes = BatchSizes(64, (8, 16, 64), free=True)
    assert list(sizes.passes(1)) == [(range(1), 8)]
    assert list(sizes.passes(9)) == [(range(9), 16)]
    assert list(sizes.passes(130)) == [(range(64), 64), (range(64, 128), 64), (range(128, 130), 8)]
