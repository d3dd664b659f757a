"""Broken promises of serving are found in a history, and kept ones are not; every method of the API is asked."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.soak.history import Event, Kind
from tests.soak.serving.checker import backs, violations
from tests.soak.serving.questions import KNOWN, METHODS, OTHERS, PROBES, known, other

METHOD = "/mintage.v1.GenerationService/Generate"


def call(
    number: int, *, at_s: float = 1.0, took_s: float = 0.1, process: str = "caller 1", code: str = "OK", **facts: Any
) -> list[Event]:
    """A call with a deadline of 5 s, and its end."""
    kind: Kind = "ok" if code == "OK" else "fail"
    begin = Event(at_s, process, METHOD, "invoke", {"call": number, "deadline_s": 5.0, "question": "q"})
    end = {"call": number, "code": code, "took_s": took_s, "text": "as it was", **facts}
    return [begin, Event(at_s + took_s, process, METHOD, kind, end)]


def fault(what: str, at_s: float, *models: str) -> list[Event]:
    """A fault of a moment."""
    return [Event(at_s, "chaos", what, kind, {"models": list(models)}) for kind in ("invoke", "ok")]


ANSWER: dict[str, Any] = {"question": "q", "archive": "a", "content": "1"}
GOOD = [
    *call(1, **ANSWER),
    *call(2, **ANSWER),
    *call(3, **{**ANSWER, "archive": "b", "content": "2"}),
    *call(4, code="UNAVAILABLE"),
    *call(5, took_s=5.9, code="DEADLINE_EXCEEDED"),
    *call(6, at_s=1, process="probe gen"),
    *fault("SIGKILL", 2, "gen", "swap"),
    *call(7, at_s=3, process="probe gen", code="UNAVAILABLE"),
    *call(8, at_s=31, process="probe gen"),
]


def test_a_history_in_which_calls_failed_as_they_may_is_good() -> None:
    assert violations(GOOD) == []
    assert [(back.model, back.seconds) for back in backs(GOOD)] == [("gen", pytest.approx(29.1)), ("swap", None)]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (call(9)[:1], "S1: /mintage.v1.GenerationService/Generate (line 0) never ended"),
        (call(9, took_s=6.1), "S1: /mintage.v1.GenerationService/Generate took 6.1 s, its deadline was 5 s"),
        (call(9, **{**ANSWER, "content": "3"}), "S2: q of archive a had another answer before"),
        (call(9, code="INTERNAL"), "S3: /mintage.v1.GenerationService/Generate ended INTERNAL: as it was"),
        (call(9, code="UNKNOWN"), "S3: /mintage.v1.GenerationService/Generate ended UNKNOWN: as it was"),
        ([*fault("frozen", 40, "gen"), *call(9, at_s=71, process="probe gen")], "S4: gen was back 31.1 s after frozen"),
        (call(9, process="calm", code="UNAVAILABLE"), "S5: in calm, /mintage.v1.GenerationService/Generate ended"),
        ([Event(99, "soak", "left", "ok", {"what": ["still running: 7"]})], "S6: still running: 7"),
        ([Event(0, "soak", "swaps only", "ok", {})], "S7: /mintage.v1.GenerationService/Generate ended UNAVAILABLE"),
    ],
)
def test_a_broken_promise_is_found(events: list[Event], found: str) -> None:
    assert violations([*GOOD, *events])[0].startswith(found)


def test_a_model_may_take_longer_where_others_took_the_machine() -> None:
    def others(share: float) -> list[Event]:
        return [Event(at_s, "machine", "others", "ok", {"share": share}) for at_s in (45, 60, 70)]

    late = [*fault("frozen", 40, "gen"), *call(9, at_s=71, process="probe gen")]
    idle = [Event(20, "machine", "others", "ok", {"share": 1.0}), Event(90, "machine", "others", "ok", {"share": 1.0})]
    assert violations([*GOOD, *late, *others(0.5)]) == []
    assert violations([*GOOD, *call(9, at_s=60, took_s=6.9), *others(0.5)]) == []
    assert violations([*GOOD, *late, *others(0.01), *idle])[0].startswith("S4: gen was back 31.1 s")


def test_a_fault_that_is_followed_by_another_is_not_measured() -> None:
    events = [*fault("frozen", 2, "gen"), *fault("killed", 40, "gen"), *call(1, at_s=50, process="probe gen")]
    assert [back.seconds for back in backs(events)] == [None, pytest.approx(10.1)]


def test_there_is_a_question_for_every_method_of_the_api() -> None:
    asked = {f"/{name}" for name, _ in KNOWN} | {f"/{name}" for name in OTHERS}
    assert asked == set(METHODS) - {"/mintage.v1.ModelService/PushArchive"}  # whose request is a stream of pieces
    keys = [known(question).key for question in KNOWN]
    assert len(set(keys)) == len(keys) and all(question in KNOWN for question in PROBES.values())
    for name in OTHERS:
        assert other(name, "jobs/a", random.Random(1)).method in METHODS
