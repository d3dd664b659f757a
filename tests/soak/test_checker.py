"""The checker names every promise that a history breaks, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.soak.checker import violations
from tests.soak.history import Event, History, read

RECIPE = "4 in 2, seed 1, webdataset"
DIGESTS = {"0": "a" * 64, "1": "b" * 64}
INDICES = {"0": [0, 1], "1": [2, 3]}
FILES = {"data/train-00000-of-00001.tar": ["a" * 64, 5, 7]}


def seen(state: str = "RUNNING", **facts: Any) -> dict[str, Any]:
    """A look at job a."""
    numbers = {"images_done": 0, "images_committed": 0, "shards_done": 0, "shards_failed": 0, "attempts": 0}
    return {"job": "jobs/a", "state": state, **numbers, "shards_total": 2, **facts}


def ended(state: str = "SUCCEEDED", **facts: Any) -> dict[str, Any]:
    """What there is of job a at the end."""
    numbers = {"images_done": 4, "images_committed": 4, "shards_done": 2, "attempts": 2}
    shards = {"digests": DIGESTS, "indices": INDICES, "temporaries": [], "files": FILES, "sound": True, "findings": []}
    return seen(state, recipe=RECIPE, **{**numbers, **shards, **facts})


def story(*more: tuple[str, str, dict[str, Any]], final: dict[str, Any] | None = None) -> list[Event]:
    """A good history with more events between the job's first images and its end."""
    listed = {"jobs": ["jobs/a"], "folders": ["jobs/a"]}
    lines: list[tuple[str, str, dict[str, Any]]] = [
        ("create", "invoke", {"request_id": "one", "recipe": RECIPE}),
        ("create", "ok", {"request_id": "one", "recipe": RECIPE, "job": "jobs/a"}),
        ("watch", "invoke", {"job": "jobs/a", "watch": "w"}),
        ("seen", "ok", seen(watch="w", images_done=2, shards_done=1, attempts=1)),
        *more,
        ("seen", "ok", seen("SUCCEEDED", watch="w", images_done=4, images_committed=4, shards_done=2, attempts=2)),
        ("sealed", "ok", {"job": "jobs/a", "files": FILES}),
        ("watch", "ok", {"job": "jobs/a", "watch": "w"}),
        ("list", "ok", listed),
        ("clean", "ok", {"recipe": RECIPE, "digests": DIGESTS, "indices": INDICES, "temporaries": []}),
        ("final", "ok", final or ended()),
    ]
    return [Event(float(n), "p", operation, kind, facts, n) for n, (operation, kind, facts) in enumerate(lines)]  # type: ignore[arg-type]


def changed(operation: str, **facts: Any) -> Callable[[list[Event]], list[Event]]:
    """Change facts of the last event of an operation."""

    def change(events: list[Event]) -> list[Event]:
        last = max(n for n, event in enumerate(events) if event.operation == operation)
        event = dataclasses.replace(events[last], facts={**events[last].facts, **facts})
        return [*events[:last], event, *events[last + 1 :]]

    return change


def without(operation: str, kind: str) -> Callable[[list[Event]], list[Event]]:
    """Leave out the events of an operation."""
    return lambda events: [event for event in events if (event.operation, event.kind) != (operation, kind)]


def broken_off(event: Event) -> Event:
    """The same event, but a watch's end was an error."""
    if (event.operation, event.kind) != ("watch", "ok"):
        return event
    return dataclasses.replace(event, kind="fail", facts={**event.facts, "error": "gone"})


def promises(events: list[Event]) -> set[str]:
    return {text.partition(":")[0] for text in violations(events)}


def get(state: str, asked_s: float, **facts: Any) -> tuple[str, str, dict[str, Any]]:
    return "get", "ok", seen(state, asked_s=asked_s, **facts)


CANCEL = [("cancel", "invoke", {"job": "jobs/a"}), ("cancel", "ok", {"job": "jobs/a"})]
CANCELLED = ended("CANCELLED", shards_done=1, digests={"0": "a" * 64}, indices={"0": [0, 1]}, attempts=1)


def test_a_good_history_breaks_nothing() -> None:
    assert violations(story()) == []
    paused = [("pause", "invoke", {"job": "jobs/a"}), ("pause", "ok", {"job": "jobs/a"}), get("PAUSED", 6.5)]
    assert violations(story(*paused)) == []


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("I1", changed("final", indices={"0": [0, 1], "1": [2, 2]})),
        ("I1", changed("final", digests={"0": "a" * 64}, indices={"0": [0, 1]})),
        ("I1", changed("clean", indices={"0": [0, 1], "1": [3, 3]})),
        ("I2", changed("final", digests={"0": "a" * 64, "1": "c" * 64})),
        ("I2", changed("final", sound=False, findings=["shard 1"])),
        ("I3", changed("final", shards_done=1)),
        ("I3", changed("final", shards_failed=1)),
        ("I3", changed("seen", images_done=1)),
        ("I5", changed("final", files={"data/train-00000-of-00001.tar": ["a" * 64, 6, 7]})),
        ("I5", changed("final", files={})),
        ("I8", changed("final", temporaries=["000001.2.beef"])),
        ("I9", without("watch", "ok")),
        ("I9", changed("seen", state="RUNNING")),
        ("I9", lambda events: list(map(broken_off, events))),
        ("I10", without("final", "ok")),
        ("I10", changed("list", jobs=[])),
        ("I10", changed("list", folders=[])),
        ("I10", changed("list", jobs=["jobs/a", "jobs/b"])),
        ("I10", changed("final", state="RUNNING")),
    ],
)  # fmt: skip
def test_a_broken_promise_is_named(promise: str, change: Callable[[list[Event]], list[Event]]) -> None:
    assert promise in promises(change(story()))


def test_what_had_ended_must_not_go_on_unless_it_was_retried() -> None:
    failed = get("FAILED", 3.5, shards_failed=1)
    assert promises(story(failed)) == {"I4"}
    assert promises(story(failed, ("retry", "invoke", {"job": "jobs/a"}))) == set()
    assert promises(story(get("SUCCEEDED", 3.5, shards_done=2), get("RUNNING", 5.2))) == {"I4"}


def test_a_watch_that_goes_on_after_the_end_is_found() -> None:
    assert "I4" in promises(story(("seen", "ok", seen("SUCCEEDED", watch="w", images_done=4, shards_done=2))))


def test_nothing_is_claimed_after_a_cancel() -> None:
    watched = without("watch", "invoke")(
        without("sealed", "ok")(without("seen", "ok")(story(*CANCEL, final=CANCELLED)))
    )
    assert violations(watched) == []
    assert promises(story(*CANCEL, get("CANCELLING", 6.5, attempts=1), final={**CANCELLED, "attempts": 2})) >= {"I6"}
    assert "I6" in promises(story(*CANCEL, get("RUNNING", 6.5, attempts=1), final=CANCELLED))


def test_a_cancel_that_redis_may_have_lost_with_its_last_second_counts_for_nothing() -> None:
    late = get("RUNNING", 7.5, attempts=1)
    assert "I6" not in promises(story(*CANCEL, ("kill valkey", "invoke", {}), late, final=ended()))


def test_a_request_is_one_job() -> None:
    def created(kind: str, **facts: Any) -> tuple[str, str, dict[str, Any]]:
        return "create", kind, {"request_id": "one", "recipe": RECIPE, **facts}

    assert violations(story(created("ok", job="jobs/a"))) == []
    assert violations(story(created("fail", recipe="another", code="ALREADY_EXISTS"))) == []
    assert "I7" in promises(story(created("ok", job="jobs/b")))
    assert "I7" in promises(story(created("ok", job="jobs/a", request_id="two")))
    assert "I7" in promises(story(created("fail", code="ALREADY_EXISTS")))
    assert "I7" in promises(story(created("fail", code="INVALID_ARGUMENT")))


def test_a_deleted_job_stays_away() -> None:
    deleted = [("delete", "invoke", {"job": "jobs/a"}), ("delete", "ok", {"job": "jobs/a"})]
    assert promises(story(*deleted)) == {"I10"}
    gone = without("final", "ok")(changed("list", jobs=[], folders=[])(story(*deleted)))
    assert violations(gone) == []


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.add("ada", "create", "invoke", request_id="one")
    history.add("ada", "create", "info", request_id="one")
    history.close()
    first, second = read(history.path)
    assert (first.process, first.operation, first.kind, first.number) == ("ada", "create", "invoke", 1)
    assert second.facts == {"request_id": "one"} and second.time_s >= first.time_s
