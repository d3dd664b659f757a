"""Sizes are chosen by what was measured."""

from __future__ import annotations

import pytest

from handlers.serving.times import LONGEST_BULK_PASS_S, LONGEST_PASS_S, RETRY_SHARE, PassTimes

SIZES = (1, 2, 4, 8, 16, 32, 64)


def times(seconds: dict[int, float]) -> PassTimes:
    found = PassTimes(SIZES)
    for size, value in seconds.items():
        found.measured("generate", size, value)
    return found


def by_row(row_s: float, overhead_s: float = 0.0) -> dict[int, float]:
    return {size: overhead_s + row_s * size for size in SIZES}


def test_a_size_that_was_never_measured_costs_as_the_nearest_by_the_row() -> None:
    assert times({8: 0.08}).seconds("generate", 16) == pytest.approx(0.16)
    assert times({}).seconds("generate", 2) == 2 * times({}).seconds("generate", 1)


def test_the_mean_follows_a_machine_that_gets_busier() -> None:
    found = times({8: 0.01})
    for _ in range(20):
        found.measured("generate", 8, 0.05)
    assert found.seconds("generate", 8) == pytest.approx(0.05, rel=0.02)


def test_a_full_pass_is_the_smallest_that_is_about_as_fast_as_the_best() -> None:
    assert times(by_row(0.0001)).best("generate") == 1
    assert times(by_row(0.0001, overhead_s=0.001)).best("generate") == 64
    assert times({**by_row(0.0001, overhead_s=0.001), 64: 0.0082}).best("generate") == 32


def test_a_full_pass_lasts_no_longer_than_a_caller_should_wait() -> None:
    slow = times(by_row(0.002, overhead_s=0.01))
    assert slow.best("generate") == 16 and slow.seconds("generate", 16) <= LONGEST_PASS_S
    assert times(by_row(1.0, overhead_s=1.0)).best("generate") == 8  # where no size is short, speed decides


def test_a_full_pass_of_bulk_work_alone_is_as_fast_as_any() -> None:
    found = times({**by_row(0.0001, overhead_s=0.001), 64: 0.0078})
    assert (found.best("generate"), found.best("generate", bulk=True)) == (32, 64)
    assert found.choose("generate", 1000, bulk=True) == (64, 64)


def test_a_full_pass_of_bulk_work_alone_is_the_largest_that_is_about_as_fast_as_the_best() -> None:
    found = times({**by_row(0.0001, overhead_s=0.001), 16: 0.0016, 32: 0.00317, 64: 0.0064})
    assert (found.best("generate"), found.best("generate", bulk=True)) == (16, 64)
    never_short = times({**by_row(0.3, overhead_s=0.3), 16: 4.0, 32: 7.9, 64: 15.9})
    assert never_short.best("generate", bulk=True) == 16


def test_a_full_pass_of_bulk_work_alone_may_be_longer_but_not_much() -> None:
    found = times({**by_row(0.001, overhead_s=0.01), 64: 0.17})
    assert (found.best("generate"), found.best("generate", bulk=True)) == (32, 32)
    slower = times(by_row(0.003, overhead_s=0.03))
    assert (slower.best("generate"), slower.best("generate", bulk=True)) == (4, 32)
    assert slower.seconds("generate", 32) <= LONGEST_BULK_PASS_S < slower.seconds("generate", 64)


def test_rows_fill_the_next_size_or_wait_where_the_padding_would_cost_more() -> None:
    even, lazy = times(by_row(0.0001)), times(by_row(0.00001, overhead_s=0.005))
    assert lazy.choose("generate", 3) == (3, 4)
    assert lazy.choose("generate", 33) == (33, 64)
    assert lazy.choose("generate", 1000) == (64, 64)
    assert even.choose("generate", 1) == (1, 1)
    steep = times({**by_row(0.0001, overhead_s=0.001), 64: 0.007})
    assert steep.choose("generate", 33) == (32, 32)
    assert steep.choose("generate", 63) == (63, 64)


def test_the_only_size_is_always_chosen() -> None:
    only = PassTimes((16,))
    assert [only.choose("generate", waiting) for waiting in (1, 16, 17)] == [(1, 16), (16, 16), (16, 16)]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_size_that_was_slow_once_is_tried_again_and_found_to_be_the_best() -> None:
    """A load on the machine while sizes are timed would otherwise keep passes small for ever."""
    clock = Clock()
    found = PassTimes(SIZES, clock)
    for size, value in {**by_row(0.0001, overhead_s=0.002), 16: 0.2, 32: 0.4, 64: 0.8}.items():
        found.measured("generate", size, value)
    chosen = []
    for _ in range(40):
        clock.now += 1.0
        _, size = found.choose("generate", 64)
        found.measured("generate", size, 0.002 + 0.0001 * size)
        chosen.append(size)
    assert chosen[0] == 8
    assert {16, 32, 64} <= set(chosen)
    assert chosen[-1] == found.best("generate") == 64


def test_a_size_that_is_slow_takes_little_of_the_time() -> None:
    clock = Clock()
    found = PassTimes(SIZES, clock)
    truth = {**by_row(0.0001), 64: 0.5}
    spent = dict.fromkeys(SIZES, 0.0)
    for size, value in truth.items():
        found.measured("generate", size, value)
    while clock.now < 200.0:
        rows, size = found.choose("generate", 64)
        assert rows == size
        clock.now += truth[size]
        spent[size] += truth[size]
        found.measured("generate", size, truth[size])
    assert 0 < spent[64] <= 100 / RETRY_SHARE + 0.5


def test_a_size_that_padding_needs_is_tried_again_too() -> None:
    clock = Clock()
    found = PassTimes(SIZES, clock)
    for size, value in {**by_row(0.00001, overhead_s=0.001), 4: 1.0}.items():
        found.measured("generate", size, value)
    assert found.choose("generate", 3) == (2, 2)
    clock.now += RETRY_SHARE * 1.0
    assert found.choose("generate", 3) == (3, 4)


def test_a_size_that_there_was_no_time_to_measure_is_tried_once_if_it_may_be_short() -> None:
    found = times({1: 0.001, 2: 0.002, 4: 0.004, 8: 0.008})
    assert found.choose("generate", 100) == (16, 16)
    found.measured("generate", 16, 0.012)
    assert found.choose("generate", 100) == (32, 32)
    found.measured("generate", 32, 0.03)
    assert found.choose("generate", 100) == (16, 16)  # 64 would take too long
    assert found.choose("generate", 100, bulk=True) == (64, 64)  # but not for jobs alone
