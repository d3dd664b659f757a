"""Both halves of the frames against each other: every size, many at once, cancels, breaks and what is no frame."""

from __future__ import annotations

import asyncio
import inspect
import math
import random
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from handlers.serving import frames
from handlers.serving.listener import Call, CallError, Listener, listen
from service.backend import frames as callers
from service.backend.channel import CallFailedError, Channel

BYTES = 3 * 2**20


@dataclass
class Place:
    """A socket whose methods echo, wait, fail or say what came with a call."""

    path: Path
    calls: list[Call] = field(default_factory=list)
    waiting: int = 0
    cancelled: int = 0
    listener: Listener | None = None

    async def start(self) -> None:
        methods = {"Echo": self.echo, "Wait": self.wait, "Fail": self.fail, "Raise": self.raises, "Large": self.large}
        self.listener = await listen(self.path, methods, max_message_bytes=BYTES)

    def channel(self) -> Channel:
        return Channel(self.path, max_message_bytes=BYTES)

    async def echo(self, message: bytes, call: Call) -> bytes:
        self.calls.append(call)
        await asyncio.sleep(random.random() / 1000)
        return message

    async def wait(self, _: bytes, __: Call) -> bytes:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
            self.cancelled += 1
        raise AssertionError

    async def fail(self, _: bytes, __: Call) -> bytes:
        raise CallError("RESOURCE_EXHAUSTED", "too much", {"after": "2.5"})

    async def raises(self, _: bytes, __: Call) -> bytes:
        raise KeyError("secret")

    async def large(self, _: bytes, __: Call) -> bytes:
        return bytes(BYTES + 1)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Place], Coroutine[Any, Any, None]]], None]:
    """Run a test with a place, in both kinds of event loop that this runs in."""

    def run(test: Callable[[Place], Coroutine[Any, Any, None]]) -> None:
        async def tested() -> None:
            with tempfile.TemporaryDirectory(prefix="mintage-") as folder:
                place = Place(Path(folder, "socket"))
                await place.start()
                async with asyncio.timeout(60):
                    await test(place)
                assert place.listener is not None
                place.listener.close()
                await until(lambda: len(asyncio.all_tasks()) == 1)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(tested())

    return run


def test_both_homes_of_the_frames_hold_the_same_code() -> None:
    """Neither package may import the other; all but what their first words say is equal."""
    ours, theirs = (inspect.getsource(module).split('"""', 2)[2] for module in (frames, callers))

    assert ours == theirs


def test_messages_of_every_size_come_back_whole_to_the_one_who_asked(run: Any) -> None:
    async def test(place: Place) -> None:
        draw = random.Random(7)
        edges = [0, 1, 2**16 - 1, 2**16, 2**18 - 60, 2**18 - 13, 2**18, 2**18 + 1, 2**20, BYTES]
        sizes = [*edges, *(draw.randrange(2**12) for _ in range(200)), *(draw.randrange(2**19) for _ in range(30))]
        draw.shuffle(sizes)
        sent = [draw.randbytes(size) for size in sizes]
        channels = [place.channel() for _ in range(3)]
        calls = [channels[number % 3].call("Echo", message, timeout_s=50) for number, message in enumerate(sent)]
        assert await asyncio.gather(*calls) == sent
        for channel in channels:
            await channel.close()

    run(test)


def test_what_comes_with_a_call_arrives(run: Any) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        await channel.call("Echo", b"", timeout_s=9.0, metadata={"client": "Jürgen"})
        await channel.call("Echo", b"")
        assert place.calls[0].metadata == {"client": "Jürgen"}
        assert 8 < place.calls[0].deadline - time.monotonic() <= 9
        assert place.calls[1].deadline == float("inf")
        await channel.close()

    run(test)


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        ("Fail", grpc.StatusCode.RESOURCE_EXHAUSTED, "too much"),
        ("Raise", grpc.StatusCode.UNKNOWN, "the call failed; the log says why"),
        ("Large", grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than a message may be"),
        ("Nothing", grpc.StatusCode.UNIMPLEMENTED, "there is no method 'Nothing'"),
    ],
)
def test_an_error_is_told_and_ends_no_other_call(run: Any, method: str, code: grpc.StatusCode, text: str) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        other = asyncio.ensure_future(channel.call("Echo", b"x" * 2**19))
        with pytest.raises(CallFailedError, match=text) as error:
            await channel.call(method, b"")
        assert error.value.code is code
        assert error.value.metadata == ({"after": "2.5"} if method == "Fail" else {})
        assert await other == b"x" * 2**19
        await channel.close()

    run(test)


def test_a_message_that_is_too_large_is_not_sent(run: Any) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        with pytest.raises(CallFailedError) as error:
            await channel.call("Echo", bytes(BYTES + 1))
        assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert place.calls == []

    run(test)


def test_a_cancel_and_a_deadline_end_the_call_there(run: Any) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        leaves = asyncio.ensure_future(channel.call("Wait", b""))
        await until(lambda: place.waiting == 1)
        leaves.cancel()
        await until(lambda: place.cancelled == 1)
        with pytest.raises(CallFailedError) as error:
            await channel.call("Wait", b"", timeout_s=0.02)
        assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: place.waiting == 0)
        assert await channel.call("Echo", b"still here") == b"still here"
        await channel.close()

    run(test)


def test_calls_end_with_their_own_deadlines_behind_one_that_is_far_away(run: Any) -> None:
    async def test(place: Place) -> None:
        channel, ended = place.channel(), []

        async def late(timeout_s: float) -> None:
            with pytest.raises(CallFailedError):
                await channel.call("Wait", b"", timeout_s=timeout_s)
            ended.append(timeout_s)

        calls = [asyncio.ensure_future(late(timeout_s)) for timeout_s in (600.0, 0.4, 0.05, 0.2)]
        await until(lambda: len(ended) == 3)
        assert 600.0 not in ended
        await until(lambda: place.waiting == 1)
        calls[0].cancel()
        await until(lambda: place.waiting == 0)
        await channel.close()

    run(test)


def test_a_process_that_is_lost_ends_its_calls_at_once_and_is_found_again(run: Any) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        calls = [asyncio.ensure_future(channel.call("Wait", b"")) for _ in range(3)]
        await until(lambda: place.waiting == 3)
        assert place.listener is not None
        place.listener.close()
        for call in calls:
            with pytest.raises(CallFailedError) as error:
                await call
            assert error.value.code is grpc.StatusCode.UNAVAILABLE
        place.path.unlink(missing_ok=True)
        with pytest.raises(CallFailedError, match="cannot connect"):
            await channel.call("Echo", b"")
        await place.start()
        assert await channel.call("Echo", b"again") == b"again"
        await channel.close()

    run(test)


def test_a_caller_that_is_lost_ends_its_calls_there(run: Any) -> None:
    async def test(place: Place) -> None:
        channel = place.channel()
        call = asyncio.ensure_future(channel.call("Wait", b""))
        await until(lambda: place.waiting == 1)
        await channel.close()
        await until(lambda: place.cancelled == 1)
        with pytest.raises(CallFailedError):
            await call

    run(test)


def test_frames_may_come_in_pieces_and_what_is_none_breaks_the_connection_alone(run: Any) -> None:
    async def test(place: Place) -> None:
        loop = asyncio.get_running_loop()
        head = b'["Echo", {}]'
        payload = frames.CALL_HEAD.pack(math.inf, len(head)) + head + b"in pieces"
        frame = frames.HEAD.pack(len(payload), 5, frames.CALL) + payload
        with socket.socket(socket.AF_UNIX) as raw:
            raw.setblocking(False)
            await loop.sock_connect(raw, str(place.path))
            for at in range(len(frame)):
                await loop.sock_sendall(raw, frame[at : at + 1])
            answer = b""
            while len(answer) < frames.HEAD.size + 9:
                answer += await loop.sock_recv(raw, 100)
            assert answer == frames.HEAD.pack(9, 5, frames.ANSWER) + b"in pieces"
            await loop.sock_sendall(raw, b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                if not await loop.sock_recv(raw, 100):
                    raise ConnectionResetError
        channel = place.channel()
        assert await channel.call("Echo", b"unharmed") == b"unharmed"
        await channel.close()

    run(test)
