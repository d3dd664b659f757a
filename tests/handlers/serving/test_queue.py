"""Whose rows are in which pass."""

from __future__ import annotations

from collections import Counter

import pytest

from handlers.serving.queue import BULK_TURN_S, COMPANY_S, QUIET_S, Entry, FairQueue, Pass, QueueFullError
from handlers.serving.times import PassTimes
from tests.handlers.serving.fakes import NotedPasses, NotedWork, entry


def queue(size: int = 8, *, max_rows: int = 1000, max_bytes: int = 1000) -> FairQueue:
    """A queue of passes whose best size is `size`, at a cost that is almost that of the pass alone."""
    times = PassTimes([1, 2, 4, 8][: [1, 2, 4, 8].index(size) + 1])
    for each in times.sizes:
        times.measured("generate", each, 0.01 + 0.0001 * each)
    return FairQueue(times, max_rows=max_rows, max_bytes=max_bytes)


def filled(found: FairQueue, *entries: Entry) -> FairQueue:
    for each in entries:
        found.add(each, 0.0)
    return found


def rows_of(chosen: Pass | None) -> dict[str, int]:
    """How many rows of each work are in a pass."""
    assert chosen is not None
    return {part.work.label: len(rows) for part, rows in chosen.parts}  # type: ignore[attr-defined]


def test_waiting_rows_of_all_clients_share_one_pass_and_the_rest_is_filled_up() -> None:
    passes = NotedPasses()
    found = filled(queue(), *(entry(NotedWork(passes, rows, name)) for rows, name in ((2, "a"), (1, "b"), (2, "c"))))
    chosen = found.next(0.0)
    assert rows_of(chosen) == {"a": 2, "b": 1, "c": 2}
    assert chosen is not None and (chosen.size, chosen.rows) == (8, 5)
    assert found.next(0.0) is None


def test_a_large_request_is_spread_over_passes_and_others_get_their_turn_between() -> None:
    passes = NotedPasses()
    found = filled(queue(), entry(NotedWork(passes, 40, "large")))
    assert rows_of(found.next(0.0)) == {"large": 8}
    filled(found, entry(NotedWork(passes, 1, "b")), entry(NotedWork(passes, 1, "c")))
    assert rows_of(found.next(0.0)) == {"b": 1, "c": 1, "large": 6}
    chosen = found.next(0.0)
    assert chosen is not None and chosen.parts[0][1] == range(14, 22)


def test_only_requests_with_the_same_passes_share_one() -> None:
    one, other = NotedPasses("activate"), NotedPasses("reconstruct")
    found = filled(
        queue(), *(entry(NotedWork(passes, 1, name)) for passes, name in ((one, "a"), (other, "b"), (one, "c")))
    )
    assert rows_of(found.next(0.0)) == {"a": 1, "c": 1}
    assert rows_of(found.next(0.0)) == {"b": 1}


def test_work_that_must_be_alone_is_alone_and_keeps_its_own_steps() -> None:
    alone, shared = NotedPasses(), NotedPasses()
    found = filled(queue(), entry(NotedWork(alone, 10, "alone", alone=4)), entry(NotedWork(shared, 1, "b")))
    order = [found.next(0.0) for _ in range(4)]
    assert [rows_of(each) for each in order] == [{"alone": 4}, {"b": 1}, {"alone": 4}, {"alone": 2}]
    assert order[3] is not None and (order[3].size, order[3].parts[0][1]) == (4, range(8, 10))


def test_interactive_work_comes_before_bulk_work_which_gets_what_a_pass_has_left() -> None:
    passes = NotedPasses()
    found = filled(queue(), entry(NotedWork(passes, 100, "job"), bulk=True), entry(NotedWork(passes, 3, "now")))
    first = found.next(0.0)
    assert rows_of(first) == {"now": 3, "job": 1} and first is not None and first.size == 4
    assert rows_of(found.next(0.0)) == {"job": 8}


def test_bulk_work_that_has_waited_long_gets_a_pass() -> None:
    passes = NotedPasses()
    found = filled(queue(), entry(NotedWork(passes, 100, "job"), bulk=True), entry(NotedWork(passes, 800, "now")))
    assert rows_of(found.next(BULK_TURN_S / 2)) == {"now": 8}
    assert rows_of(found.next(BULK_TURN_S)) == {"job": 8}
    assert rows_of(found.next(BULK_TURN_S)) == {"now": 8}


def test_clients_get_equal_shares_however_many_requests_each_makes() -> None:
    passes, served = NotedPasses(), Counter[str]()
    found = queue()
    for number in range(60):
        filled(found, entry(NotedWork(passes, 4, "many"), "many"))
        if number < 10:
            filled(found, entry(NotedWork(passes, 24, "few"), "few"))
    for _ in range(20):
        served += Counter(rows_of(found.next(0.0)))
    assert sum(served.values()) == 160 and abs(served["many"] - served["few"]) <= 8


def test_a_client_that_was_away_has_saved_up_nothing() -> None:
    passes, served = NotedPasses(), Counter[str]()
    found = filled(queue(), *(entry(NotedWork(passes, 400, name)) for name in ("a", "b")))
    for _ in range(50):
        found.next(0.0)
    filled(found, entry(NotedWork(passes, 400, "late")))
    for _ in range(30):
        served += Counter(rows_of(found.next(0.0)))
    assert max(served.values()) - min(served.values()) <= 8


def test_expired_and_cancelled_work_is_dropped_before_the_pass() -> None:
    passes = NotedPasses()
    late, gone, left = (
        entry(NotedWork(passes, 2, name), deadline=at) for name, at in (("late", 1), ("gone", 9), ("left", 9))
    )
    found = filled(queue(), late, gone, left)
    assert found.expired(0.5) == []
    assert found.expired(1.0) == [late] and late.outcome == "expired"
    found.cancel(gone)
    assert gone.outcome == "cancelled" and found.rows(bulk=False) == 2
    assert rows_of(found.next(1.0)) == {"left": 2}


def test_the_rest_of_a_request_that_was_begun_is_dropped_when_its_caller_leaves() -> None:
    found, large = queue(), entry(NotedWork(NotedPasses(), 100, "large"))
    filled(found, large).next(0.0)
    found.cancel(large)
    assert found.next(0.0) is None and found.rows(bulk=False) == 0


def test_what_waits_is_bounded_by_class_and_a_refusal_says_when_to_come_back() -> None:
    passes = NotedPasses()
    found = filled(queue(max_rows=100), entry(NotedWork(passes, 100, "a")))
    with pytest.raises(QueueFullError) as refusal:
        filled(found, entry(NotedWork(passes, 1, "a")))
    assert refusal.value.retry_after_s == pytest.approx(100 / 8 * 0.0108, rel=0.01)
    filled(found, entry(NotedWork(passes, 100, "job"), bulk=True))
    with pytest.raises(QueueFullError):
        filled(found, entry(NotedWork(passes, 1, "job"), bulk=True))


def test_a_client_with_less_than_its_share_is_still_let_in_up_to_twice_the_bound() -> None:
    passes = NotedPasses()
    found = filled(queue(max_rows=100), entry(NotedWork(passes, 100, "a")), entry(NotedWork(passes, 50, "b")))
    with pytest.raises(QueueFullError):
        filled(found, entry(NotedWork(passes, 1, "b")))
    filled(found, entry(NotedWork(passes, 33, "c")))
    with pytest.raises(QueueFullError):
        filled(found, entry(NotedWork(passes, 18, "d")))


def test_bytes_are_bounded_too_but_a_lone_request_is_always_taken() -> None:
    passes = NotedPasses()
    found = filled(queue(max_bytes=100, max_rows=10), entry(NotedWork(passes, 30, "a"), size_bytes=200))
    with pytest.raises(QueueFullError):
        filled(found, entry(NotedWork(passes, 1, "b"), size_bytes=1))


def test_a_pass_takes_its_share_of_what_waits_when_others_may_begin_too() -> None:
    found = filled(queue(), entry(NotedWork(NotedPasses(), 6, "a")))
    first, second = found.next(0.0, free_lanes=2), found.next(0.0, free_lanes=1)
    assert first and second and (first.rows, second.rows) == (3, 3)


def test_a_request_with_passes_to_itself_waits_where_one_is_under_way() -> None:
    found = filled(queue(), entry(NotedWork(NotedPasses(), 2, "a", alone=1)))
    assert found.next(0.0, alone=False) is None
    chosen = found.next(0.0)
    assert chosen is not None and chosen.alone


def test_few_rows_join_a_later_pass_only_if_one_that_is_under_way_ends_soon() -> None:
    passes = NotedPasses()
    found = filled(queue(), entry(NotedWork(passes, 1, "a")))
    assert found.next(0.0, another_ends_s=COMPANY_S) is None
    for another_ends_s in (2 * COMPANY_S, -0.001):  # a long one, and one that should have ended
        chosen = found.next(0.0, another_ends_s=another_ends_s)
        assert rows_of(chosen) == {"a": 1}
        filled(found, entry(NotedWork(passes, 1, "a")))
    filled(found, entry(NotedWork(passes, 1, "b")))
    assert rows_of(found.next(0.0, another_ends_s=COMPANY_S)) == {"a": 1, "b": 1}


def test_few_rows_are_not_shared_among_lanes() -> None:
    found = filled(queue(), entry(NotedWork(NotedPasses(), 3, "a")))
    assert rows_of(found.next(0.0, free_lanes=2)) == {"a": 3}


def test_passes_of_jobs_are_long_only_while_no_caller_comes() -> None:
    times = PassTimes([1, 2, 4, 8])
    for size, seconds in ((1, 0.02), (2, 0.03), (4, 0.05), (8, 0.09)):
        times.measured("generate", size, seconds)
    passes, found = NotedPasses(), FairQueue(times, max_rows=1000, max_bytes=1000)

    def size_at(now: float) -> int:
        chosen = found.next(now)
        assert chosen is not None
        return chosen.size

    found.add(entry(NotedWork(passes, 100, "job"), bulk=True), 0.0)
    assert size_at(0.0) == 8
    found.add(entry(NotedWork(passes, 1, "caller")), 0.5)
    assert size_at(0.5) < 8
    assert size_at(0.6) == 4
    assert size_at(0.5 + QUIET_S) == 8
    found.add(entry(NotedWork(passes, 1, "")), 2.6)  # a canary's
    assert size_at(2.6) < 8
    assert size_at(2.7) == 8
