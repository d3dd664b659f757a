from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
import structlog

from service.api import call_log
from service.api.call_log import LINES, CallLog

METHOD = "/mintage.v1.GenerationService/Generate"
OK, INTERNAL = grpc.StatusCode.OK, grpc.StatusCode.INTERNAL


def lines_of(*calls: tuple[str, grpc.StatusCode, float]) -> list[Any]:
    """What the log has of calls of one period."""

    async def record() -> None:
        log = CallLog()
        for call in calls:
            log.record(*call)
        log.flush()

    with structlog.testing.capture_logs() as lines:
        asyncio.run(record())
    return lines


def test_a_few_calls_are_a_line_each() -> None:
    lines = lines_of((METHOD, OK, 0.001), (METHOD, INTERNAL, 0.002))
    assert [(line["event"], line["code"], line["duration_ms"]) for line in lines] == [
        ("call", "OK", 1.0),
        ("call", "INTERNAL", 2.0),
    ]


def test_of_many_calls_the_first_are_lines_and_the_others_a_count() -> None:
    lines = lines_of(*[(METHOD, OK, 0.001)] * LINES, *[(METHOD, OK, 0.002)] * 99, (METHOD, OK, 0.5))
    assert [line["event"] for line in lines] == ["call"] * LINES + ["more calls"]
    count = lines[-1]
    assert (count["method"], count["code"], count["calls"], count["longest_ms"]) == (METHOD, "OK", 100, 500.0)
    assert count["mean_ms"] == 7.0


def test_another_end_is_counted_apart_and_a_fault_of_ours_is_always_a_line() -> None:
    lines = lines_of(*[(METHOD, OK, 0.001)] * 1000, (METHOD, grpc.StatusCode.NOT_FOUND, 0.001))
    assert [line["code"] for line in lines[LINES:]] == ["NOT_FOUND", "OK"]
    assert len(lines_of(*[(METHOD, INTERNAL, 0.001)] * 50)) == 50


def test_the_counts_are_written_at_the_end_of_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "PERIOD_S", 0.01)

    async def test() -> None:
        log = CallLog()
        for _ in range(2 * LINES):
            log.record(METHOD, OK, 0.001)
        async with asyncio.timeout(60):
            while lines[-1]["event"] != "more calls":
                await asyncio.sleep(0.005)
        log.record(METHOD, OK, 0.001)
        assert lines[-1]["event"] == "call"

    with structlog.testing.capture_logs() as lines:
        asyncio.run(test())


def test_health_checks_are_for_the_debugger() -> None:
    assert {line["log_level"] for line in lines_of(*[("/grpc.health.v1.Health/Check", OK, 0.001)] * 20)} == {"debug"}
