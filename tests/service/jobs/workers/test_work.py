"""The requests that a shard is computed by: how many images each has, and which."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from service.jobs.workers.work import RequestSize
from tests.support.plans import sample_plan, score_plan


def test_requests_grow_while_answers_are_quick_and_shrink_when_they_are_not() -> None:
    size = RequestSize(64)
    plan = sample_plan(count=10_000, shard_size=10_000, micro_batch=64)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(64)
    for _ in range(20):
        size.took(0.01)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(1024)
    assert size.cut(plan, 100, 10_000, 1 << 26) == range(100, 1088)  # ends where a micro-batch ends
    assert size.cut(plan, 9_990, 10_000, 1 << 26) == range(9_990, 10_000)
    for _ in range(20):
        size.took(2.0)
    assert size.cut(plan, 0, 10_000, 1 << 26) == range(64)  # never less than a micro-batch
    assert size.cut(dataclasses.replace(plan, rows_free=True), 0, 10_000, 1 << 26) == range(1)


def test_where_rows_are_free_a_request_has_as_many_images_as_it_may_wherever_micro_batches_begin() -> None:
    size = RequestSize(64)
    plan = sample_plan(count=10_000, shard_size=10_000, micro_batch=100, rows_free=True)
    assert size.cut(plan, 7, 10_000, 1 << 26) == range(7, 71)
    assert size.cut(plan, 9_990, 10_000, 1 << 26) == range(9_990, 10_000)
    assert size.cut(plan, 7, 10_000, 2 * 12 * 5) == range(7, 12)  # five images are as many as fit


def test_a_micro_batch_that_is_too_large_for_a_message_is_cut() -> None:
    plan = sample_plan(count=100, shard_size=100, micro_batch=64, height=1000, width=1000, channels=3)
    assert RequestSize(64).cut(plan, 0, 100, 64 << 20) == range(11)
    assert RequestSize(64).cut(plan, 60, 100, 64 << 20) == range(60, 64)
    assert RequestSize(64).cut(plan, 0, 100, 1000) == range(1)


@pytest.mark.parametrize("most_bytes", [64 << 20, 2 * 100 * 12, 2 * 40 * 12], ids=["plenty", "100 images", "40 images"])
def test_an_image_is_scored_in_the_same_row_whatever_is_asked_for_together(most_bytes: int) -> None:
    plan = score_plan(sample_plan(count=1000, shard_size=150, micro_batch=64), "b" * 64)

    def rows(batches: list[int]) -> dict[int, tuple[int, int]]:
        """Row of each image in its micro-batch, and how many images that one has."""
        found: dict[int, tuple[int, int]] = {}
        size, turn = RequestSize(64), itertools.cycle(batches)
        for shard in range(plan.shards):
            span = plan.span(shard)
            start = span.start
            while start < span.stop:
                size.images = 64 * next(turn)
                asked = size.cut(plan, start, span.stop, most_bytes)
                for index in asked:
                    row, batch = (index - asked.start) % 64, (index - asked.start) // 64
                    found[index] = row, min(len(asked) - 64 * batch, 64)
                start = asked.stop
        return found

    assert rows([1]) == rows([1024]) == rows([2, 1, 1, 3])
