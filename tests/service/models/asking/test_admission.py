"""What an API holds for a model is bounded; calls beyond that are refused at once."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import DeadlineExceeded, ResourceExhausted
from service.models.asking.admission import MIN_RETRY_S, Admission, Admissions, Deadline
from service.time_limits import TimeLimits
from tests.support.world import run, until

SOON = 60.0


def admission(*, calls: int = 2, held_bytes: int = 100) -> Admission:
    return Admission(calls=calls, held_bytes=held_bytes, limits=TimeLimits())


def test_calls_run_at_once_up_to_the_bound_and_no_further() -> None:
    async def test() -> None:
        way, open_ = admission(), asyncio.Event()
        tasks = [asyncio.create_task(way.run(open_.wait, deadline=Deadline.after(SOON))) for _ in range(2)]
        await until(lambda: way.calls == 2)
        with pytest.raises(ResourceExhausted) as refusal:
            await way.run(open_.wait, deadline=Deadline.after(SOON))
        assert refusal.value.retry_after_s >= MIN_RETRY_S
        open_.set()
        assert await asyncio.gather(*tasks) == [True, True]
        assert way.calls == 0 and await way.run(open_.wait, deadline=Deadline.after(SOON))

    run(test())


def test_the_bytes_of_all_calls_are_bounded_but_a_lone_one_may_have_any() -> None:
    async def test() -> None:
        way, open_ = admission(calls=9), asyncio.Event()
        first = asyncio.create_task(way.run(open_.wait, deadline=Deadline.after(SOON), size_bytes=60))
        await until(lambda: way.calls == 1)
        with pytest.raises(ResourceExhausted):
            await way.run(open_.wait, deadline=Deadline.after(SOON), size_bytes=41)
        second = asyncio.create_task(way.run(open_.wait, deadline=Deadline.after(SOON), size_bytes=40))
        await until(lambda: way.calls == 2)
        open_.set()
        await asyncio.gather(first, second)
        assert await way.run(open_.wait, deadline=Deadline.after(SOON), size_bytes=1000)

    run(test())


@pytest.mark.parametrize("leaves", ["cancel", "deadline"])
def test_work_ends_with_its_caller_and_leaves_its_place(leaves: str) -> None:
    async def test() -> None:
        way, ended = admission(), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        deadline = Deadline.after(SOON if leaves == "cancel" else 0.01)
        task = asyncio.create_task(way.run(work, deadline=deadline))
        await until(lambda: way.calls == 1)
        if leaves == "cancel":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if leaves == "cancel" else DeadlineExceeded):
            await task
        assert ended.is_set() and way.calls == 0

    run(test())


def test_a_time_out_of_the_work_itself_is_not_taken_for_the_callers_deadline() -> None:
    async def test() -> None:
        async def work() -> None:
            raise TimeoutError("of the work")

        with pytest.raises(TimeoutError, match="of the work"):
            await admission().run(work, deadline=Deadline.after(SOON))

    run(test())


def test_each_model_has_its_own_admission_and_idle_ones_are_forgotten() -> None:
    ways = Admissions(calls=1, held_bytes=1)
    assert ways.of("a") is ways.of("a")
    assert ways.of("b") is not ways.of("a")
    assert len(ways.counts()) == 1
