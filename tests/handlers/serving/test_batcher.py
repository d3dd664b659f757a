"""What waits is computed, pass after pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from handlers.serving.batcher import Batcher
from handlers.serving.queue import Entry
from tests.handlers.serving.fakes import NotedPasses, NotedWork, entry, wait_until


@contextmanager
def running(*, works: bool = True, lanes: int = 1, begin: Callable[[], object] = lambda: None) -> Iterator[Batcher]:
    batcher = Batcher((1, 4, 8), max_rows=1000, max_bytes=1000, works=lambda: works, lanes=lanes, begin=begin)
    for size in batcher.times.sizes:
        batcher.times.measured("generate", size, 0.01 + 0.0001 * size)
    batcher.times.measured = lambda *_: None  # type: ignore[method-assign] # passes of these tests take no time
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.close()


def test_what_arrives_during_a_pass_shares_the_next_one() -> None:
    begun, open_ = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        open_.wait(30)

    passes, ended = NotedPasses(before=hold), list[Entry]()
    with running() as batcher:
        batcher.add(entry(NotedWork(passes, 1, "first"), done=ended.append))
        begun.wait(30)
        for name in "abc":
            batcher.add(entry(NotedWork(passes, 1, name), done=ended.append))
        assert batcher.waiting() == {"interactive": 3, "bulk": 0}
        open_.set()
        wait_until(lambda: len(ended) == 4)
    alone, together = passes.noted
    assert (list(alone[0]), alone[1]) == (["first"], 1)
    assert (sorted(together[0]), together[1]) == (["a", "b", "c"], 4)
    assert {each.outcome for each in ended} == {"computed"}


def test_a_pass_that_fails_fails_its_requests_and_no_other() -> None:
    def explode() -> None:
        raise RuntimeError("out of luck")

    ended = list[Entry]()
    with running() as batcher:
        batcher.add(entry(NotedWork(NotedPasses(before=explode), 20, "bad"), done=ended.append))
        wait_until(lambda: len(ended) == 1)
        batcher.add(entry(NotedWork(NotedPasses(), 20, "good"), done=ended.append))
        wait_until(lambda: len(ended) == 2)
    assert [each.outcome for each in ended] == ["failed", "computed"]


def test_a_request_that_waits_beyond_its_deadline_is_told_so_and_not_computed() -> None:
    begun, open_ = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        open_.wait(30)

    passes, ended = NotedPasses(before=hold), list[Entry]()
    with running() as batcher:
        batcher.add(entry(NotedWork(passes, 1, "first")))
        begun.wait(30)
        deadline = time.monotonic() + 0.01
        batcher.add(entry(NotedWork(passes, 1, "late"), deadline=deadline, done=ended.append))
        wait_until(lambda: time.monotonic() > deadline + 0.1)
        open_.set()
        wait_until(lambda: ended)
    assert ended[0].outcome == "expired" and len(passes.noted) == 1


def test_a_cancelled_request_is_neither_computed_nor_told() -> None:
    begun, open_ = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        open_.wait(30)

    passes, ended = NotedPasses(before=hold), list[Entry]()
    with running() as batcher:
        batcher.add(entry(NotedWork(passes, 1, "first"), done=ended.append))
        begun.wait(30)
        gone = entry(NotedWork(passes, 1, "gone"), done=ended.append)
        batcher.add(gone)
        batcher.cancel(gone)
        open_.set()
        wait_until(lambda: ended)
        assert batcher.waiting() == {"interactive": 0, "bulk": 0}
    assert [each.work.label for each in ended] == ["first"]  # type: ignore[attr-defined]


def test_every_size_is_timed_before_the_first_request() -> None:
    batcher = Batcher((1, 2, 4), max_rows=1, max_bytes=1, works=lambda: True)
    passes = NotedPasses()
    batcher.warm_up(lambda: NotedWork(passes))
    assert [size for _, size in passes.noted] == [1, 1, 1, 2, 2, 2, 4, 4, 4]


def test_an_idle_batcher_checks_its_sizes_and_uses_a_bad_one_no_more() -> None:
    checked: list[int] = []

    def recheck() -> tuple[int, ...]:
        checked.append(len(checked))
        if len(checked) == 1:
            raise RuntimeError("out of luck")
        return (1, 4, 8)

    passes, ended = NotedPasses(), list[Entry]()
    batcher = Batcher((1, 2, 4, 8), max_rows=1000, max_bytes=1000, works=lambda: True, recheck=recheck, recheck_s=0.0)
    for size in batcher.times.sizes:
        batcher.times.measured("generate", size, 0.01 + 0.0001 * size)
    batcher.start()
    try:
        wait_until(lambda: batcher.withdrawn == [2])
        batcher.add(entry(NotedWork(passes, 2, "pair"), done=ended.append))
        wait_until(lambda: len(ended) == 1)
    finally:
        batcher.close()
    assert passes.noted == [({"pair": range(2)}, 4)]
    assert len(checked) >= 2


def test_free_lanes_share_the_rows_of_one_request_at_the_same_time() -> None:
    together = threading.Barrier(2)

    def meet() -> None:
        together.wait(30)

    passes, ended = NotedPasses(before=meet), list[Entry]()
    with running(lanes=2) as batcher:
        batcher.add(entry(NotedWork(passes, 8, "halved"), done=ended.append))
        wait_until(lambda: ended)
    assert sorted((each["halved"].start, size) for each, size in passes.noted) == [(0, 4), (4, 4)]
    assert [each.outcome for each in ended] == ["computed"]


def test_a_request_with_passes_to_itself_has_one_at_a_time_while_all_others_go_on() -> None:
    lane, counted = threading.local(), list[tuple[str, bool]]()
    begun, open_ = threading.Event(), threading.Event()

    def hold() -> None:
        counted.append(("alone", lane.begun))
        begun.set()
        open_.wait(30)

    ended = list[Entry]()
    shared = NotedPasses(before=lambda: counted.append(("shared", lane.begun)))
    with running(lanes=2, begin=lambda: setattr(lane, "begun", True)) as batcher:
        batcher.add(entry(NotedWork(NotedPasses(before=hold), 3, "steps", alone=1), done=ended.append))
        begun.wait(30)
        batcher.add(entry(NotedWork(shared, 1, "other"), done=ended.append))
        wait_until(lambda: ended)
        assert counted == [("alone", True), ("shared", True)]
        open_.set()
        wait_until(lambda: len(ended) == 2)
    assert [each.work.label for each in ended] == ["other", "steps"]  # type: ignore[attr-defined]
    assert counted.count(("alone", True)) == 3


def test_a_pass_that_fails_in_one_lane_ends_its_request_once() -> None:
    together = threading.Barrier(2)

    def explode() -> None:
        together.wait(30)
        raise RuntimeError("out of luck")

    ended = list[Entry]()
    with running(lanes=2) as batcher:
        batcher.add(entry(NotedWork(NotedPasses(before=explode), 8, "bad"), done=ended.append))
        wait_until(lambda: ended and batcher.progress() == {})
        batcher.add(entry(NotedWork(NotedPasses(), 1, "good"), done=ended.append))
        wait_until(lambda: len(ended) == 2)
    assert [each.outcome for each in ended] == ["failed", "computed"]


def test_the_pass_that_has_lasted_longest_is_the_one_that_is_told() -> None:
    open_, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        open_.wait(30)

    ended = list[Entry]()
    with running(lanes=2) as batcher:
        batcher.add(entry(NotedWork(NotedPasses(before=hold), 1, "long"), done=ended.append))
        begun.wait(30)
        batcher.add(entry(NotedWork(NotedPasses(), 1, "short"), done=ended.append))
        wait_until(lambda: ended)
        assert batcher.progress()["pass"] == 1
        open_.set()
        wait_until(lambda: len(ended) == 2)
    assert batcher.progress() == {}
