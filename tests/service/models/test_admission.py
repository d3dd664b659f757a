"""Admission: bounded work, a bounded line, and places that are free only when the work has ended."""

import asyncio

import pytest

from service.errors import DeadlineExceeded, ResourceExhausted
from service.models.admission import Admission, Admissions, Caller, Deadline
from tests.support.world import run, until


def admission(*, concurrent: int = 1, waiting: int = 1, waiting_bytes: int = 100) -> Admission:
    return Admission(concurrent=concurrent, waiting=waiting, waiting_bytes=waiting_bytes)


SOON = 10.0


def test_no_more_than_so_many_run_at_once_and_all_get_their_answer() -> None:
    async def test() -> None:
        way = admission(concurrent=3, waiting=100)
        running = most = 0

        async def work(_: Caller) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return 7

        answers = await asyncio.gather(*(way.run(work, deadline=Deadline.after(SOON)) for _ in range(50)))
        assert answers == [7] * 50
        assert most == 3
        assert way.idle

    run(test())


def test_a_full_line_refuses_at_once_and_says_when_to_come_again() -> None:
    async def test() -> None:
        way, open_ = admission(), asyncio.Event()

        async def work(_: Caller) -> bool:
            return await open_.wait()

        tasks = [asyncio.create_task(way.run(work, deadline=Deadline.after(SOON))) for _ in range(2)]
        await until(lambda: way.waiting == 1)
        with pytest.raises(ResourceExhausted, match="1 calls are at this model and 1 wait") as refusal:
            await way.run(work, deadline=Deadline.after(SOON))
        assert 0.1 <= refusal.value.retry_after_s <= 10
        open_.set()
        assert await asyncio.gather(*tasks) == [True, True]
        assert way.idle

    run(test())


def test_requests_that_wait_hold_no_more_than_so_many_bytes() -> None:
    async def test() -> None:
        way, open_ = admission(waiting=10, waiting_bytes=100), asyncio.Event()

        async def work(_: Caller) -> bool:
            return await open_.wait()

        tasks = [asyncio.create_task(way.run(work, deadline=Deadline.after(SOON), size_bytes=60)) for _ in range(2)]
        await until(lambda: way.waiting == 1)
        with pytest.raises(ResourceExhausted):
            await way.run(work, deadline=Deadline.after(SOON), size_bytes=41)
        tasks.append(asyncio.create_task(way.run(work, deadline=Deadline.after(SOON), size_bytes=40)))
        await until(lambda: way.waiting == 2)
        open_.set()
        await asyncio.gather(*tasks)

    run(test())


@pytest.mark.parametrize("leaves", ["cancel", "deadline"])
def test_a_caller_who_leaves_keeps_the_place_until_the_model_has_answered(leaves: str) -> None:
    async def test() -> None:
        way, open_ = admission(), asyncio.Event()
        callers: list[Caller] = []

        async def work(caller: Caller) -> None:
            callers.append(caller)
            await open_.wait()

        deadline = Deadline.after(SOON if leaves == "cancel" else 0.01)
        task = asyncio.create_task(way.run(work, deadline=deadline))
        await until(lambda: way.running == 1)
        if leaves == "cancel":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if leaves == "cancel" else DeadlineExceeded):
            await task
        assert way.running == 1
        assert callers[0].gone
        open_.set()
        await until(lambda: way.idle)

    run(test())


def test_whoever_gives_up_in_the_line_never_reaches_the_model() -> None:
    async def test() -> None:
        way, open_, started = admission(waiting=5), asyncio.Event(), 0

        async def work(_: Caller) -> None:
            nonlocal started
            started += 1
            await open_.wait()

        first = asyncio.create_task(way.run(work, deadline=Deadline.after(SOON)))
        await until(lambda: way.running == 1)
        with pytest.raises(DeadlineExceeded, match="waited"):
            await way.run(work, deadline=Deadline.after(0.01))
        cancelled = asyncio.create_task(way.run(work, deadline=Deadline.after(SOON)))
        await until(lambda: way.waiting == 1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert way.waiting == 0
        open_.set()
        await first
        assert started == 1
        assert way.idle

    run(test())


def test_a_time_out_of_the_work_itself_is_not_taken_for_the_callers_deadline() -> None:
    async def test() -> None:
        async def work(_: Caller) -> None:
            raise TimeoutError("of the work")

        with pytest.raises(TimeoutError, match="of the work"):
            await admission().run(work, deadline=Deadline.after(SOON))

    run(test())


def test_a_failure_nobody_waits_for_any_more_is_no_warning() -> None:
    async def test() -> None:
        way, open_ = admission(), asyncio.Event()

        async def work(_: Caller) -> None:
            await open_.wait()
            raise ValueError("too late")

        task = asyncio.create_task(way.run(work, deadline=Deadline.after(SOON)))
        await until(lambda: way.running == 1)
        task.cancel()
        open_.set()
        await until(lambda: way.idle)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())


def test_each_model_has_its_own_way_and_idle_ways_are_forgotten() -> None:
    async def test() -> None:
        ways = Admissions(concurrent=1, waiting=0, waiting_bytes=1)
        assert ways.of("a") is ways.of("a")
        assert ways.of("b") is not ways.of("a")
        assert len(ways.counts()) == 1
        await ways.close()

    run(test())
