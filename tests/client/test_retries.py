"""Only what may be repeated is repeated, only where it may help, and never past the deadline."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import grpc
import pytest
from mintage.client import AsyncClient, Client, Retries
from mintage.errors import (
    Cancelled,
    InvalidRequest,
    NotPossible,
    Overloaded,
    TimedOut,
    Unavailable,
)
from mintage.retries import Attempts

from tests.client.answers import EXHAUSTED, MODEL, QUICK, UNAVAILABLE, answers, fails
from tests.client.fakes import Script
from tests.support.world import run


def test_unavailable_is_tried_again(script: Script, client: Client) -> None:
    script.then(fails(UNAVAILABLE), fails(UNAVAILABLE), answers(MODEL))
    assert client.model("a").name == "models/a"
    assert len(script.requests) == 3


def test_the_asynchronous_client_tries_again_too(script: Script) -> None:
    script.then(fails(UNAVAILABLE), fails(EXHAUSTED, retry_after_s=0.001), answers(MODEL))

    async def test() -> None:
        async with AsyncClient(script.address, retries=QUICK) as client:
            assert (await client.model("a")).name == "models/a"

    run(test())


def test_a_call_that_a_server_dropped_while_it_shut_down_is_tried_again(script: Script, client: Client) -> None:
    def drops(_: Any, context: grpc.ServicerContext) -> NoReturn:
        context.cancel()
        raise AssertionError

    script.then(drops, answers(MODEL))
    assert client.model("a").name == "models/a"


def test_a_call_that_was_cancelled_is_not_tried_again(script: Script, client: Client) -> None:
    script.then(fails(grpc.StatusCode.CANCELLED))
    with pytest.raises(Cancelled, match="for this test"):
        client.model("a")
    assert len(script.requests) == 1


def test_overload_is_tried_again_no_sooner_than_the_server_says(script: Script, client: Client) -> None:
    script.then(fails(EXHAUSTED, retry_after_s=0.15), answers(MODEL))
    start = time.monotonic()
    client.model("a")
    assert time.monotonic() - start >= 0.15


def test_overload_without_a_time_is_final(script: Script, client: Client) -> None:
    script.then(fails(EXHAUSTED))
    with pytest.raises(Overloaded):
        client.model("a")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.FAILED_PRECONDITION, NotPossible),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
    ],
)
def test_what_cannot_help_is_not_tried_again(
    script: Script, client: Client, code: grpc.StatusCode, error: type[Exception]
) -> None:
    script.then(fails(code))
    with pytest.raises(error):
        client.model("a")
    assert len(script.requests) == 1


def test_what_may_not_be_repeated_is_not(script: Script, client: Client) -> None:
    script.then(fails(UNAVAILABLE))
    with pytest.raises(Unavailable):
        client.unload_model("a")
    assert len(script.requests) == 1


def test_attempts_come_to_an_end(script: Script, client: Client) -> None:
    script.then(*[fails(UNAVAILABLE)] * 4)
    with pytest.raises(Unavailable):
        client.model("a")
    assert len(script.requests) == 4


def test_an_error_is_raised_without_the_one_of_grpc_below_it(script: Script, client: Client) -> None:
    """A caller who sees a traceback sees one, which ends with what to do."""
    script.then(fails(UNAVAILABLE))
    with pytest.raises(Unavailable) as raised:
        client.unload_model("a")
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_the_asynchronous_client_raises_one_error_too(script: Script) -> None:
    async def test() -> None:
        async with AsyncClient(script.address, retries=QUICK) as client:
            with pytest.raises(Unavailable) as raised:
                await client.unload_model("a")
        assert raised.value.__cause__ is raised.value.__context__ is None

    script.then(fails(UNAVAILABLE))
    run(test())


def test_no_pause_reaches_past_the_deadline(script: Script) -> None:
    script.then(fails(EXHAUSTED, retry_after_s=90))
    with Client(script.address, timeout_s=60) as client, pytest.raises(Overloaded):  # not TimedOut, at the deadline
        client.model("a")


def test_a_call_that_hangs_ends_with_its_deadline(script: Script) -> None:
    def hangs(_: Any, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            time.sleep(0.01)
        return MODEL

    script.then(hangs)
    with Client(script.address, timeout_s=0.1) as client, pytest.raises(TimedOut, match="no answer came within"):
        client.model("a")


def test_pauses_grow_and_differ() -> None:
    def pauses() -> list[float]:
        attempts = Attempts(Retries(attempts=9, max_pause_s=1.0), repeatable=True, timeout_s=None)
        return [attempts.pause_after(Unavailable("", code=UNAVAILABLE)) for _ in range(8)]

    first, second = pauses(), pauses()
    assert first != second
    assert 0.05 <= first[0] <= 0.1
    assert 0.5 <= first[7] <= 1.0


def test_no_time_remains_after_the_deadline() -> None:
    with pytest.raises(TimedOut):
        Attempts(Retries(), repeatable=True, timeout_s=0.0).remaining_s()


def total_pause_s(attempts: Attempts) -> float:
    waited_s = 0.0
    with pytest.raises(Unavailable):
        while True:
            waited_s += attempts.pause_after(Unavailable("gone", code=UNAVAILABLE))
    return waited_s


def test_a_stream_that_has_said_something_is_asked_for_again_for_as_long_as_a_server_needs_to_restart() -> None:
    attempts = Attempts(Retries(), repeatable=True, timeout_s=None)
    attempts.succeeded()
    assert 15 < total_pause_s(attempts) < 60


def test_a_call_to_a_server_that_has_answered_before_covers_its_restart() -> None:
    again = Attempts(Retries(), repeatable=True, timeout_s=None, had_an_answer=True)
    assert 15 < total_pause_s(again) < 60
    assert 7 < total_pause_s(Attempts(Retries(), repeatable=True, timeout_s=None)) < 17


def test_no_more_than_one_attempt_is_made_where_none_more_is_wanted() -> None:
    attempts = Attempts(Retries(attempts=1), repeatable=True, timeout_s=None, had_an_answer=True)
    assert total_pause_s(attempts) == 0
