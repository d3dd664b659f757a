"""Work ends when its time is over, as with asyncio.timeout, and one timer watches it all."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.time_limits import TimeLimits
from tests.support.world import run


def test_what_takes_too_long_ends_with_a_timeout_and_the_rest_goes_on() -> None:
    async def test() -> None:
        limits, order = TimeLimits(), []

        async def work(name: str, seconds: float) -> None:
            limit = limits.until(time.monotonic() + seconds)
            try:
                async with limit:
                    await asyncio.Event().wait()
            except TimeoutError:
                assert limit.expired
                order.append(name)
            await asyncio.sleep(0)  # the task itself is not cancelled

        async with asyncio.timeout(30):
            await asyncio.gather(work("last", 0.12), work("first", 0.0), work("second", 0.05))
        assert order == ["first", "second", "last"]

    run(test())


def test_what_is_done_in_time_has_its_result() -> None:
    async def test() -> None:
        limits = TimeLimits()
        async with limits.until(time.monotonic() + 0.03) as limit:
            found = 7
        await asyncio.sleep(0.1)
        assert (found, limit.expired) == (7, False)

    run(test())


def test_an_error_from_within_passes_as_it_is() -> None:
    async def test() -> None:
        limits = TimeLimits()
        for error in (TimeoutError("inner"), ValueError("inner")):
            with pytest.raises(type(error), match="inner"):
                async with limits.until(time.monotonic() + 30):
                    raise error

    run(test())


@pytest.mark.parametrize("expires_too", [False, True])
def test_a_cancel_from_outside_stays_one(*, expires_too: bool) -> None:
    async def test() -> None:
        limits = TimeLimits()

        async def work() -> None:
            async with limits.until(time.monotonic() + 30):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        if expires_too:
            limits.expire()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())


def test_all_can_be_ended_at_once() -> None:
    async def test() -> None:
        limits = TimeLimits()

        async def work() -> None:
            with pytest.raises(TimeoutError):
                async with limits.until(time.monotonic() + 30):
                    await asyncio.Event().wait()

        tasks = [asyncio.ensure_future(work()) for _ in range(3)]
        await asyncio.sleep(0)
        limits.expire()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)

    run(test())
