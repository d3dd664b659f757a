"""Callers reach a model's queue by its socket, with gRPC's own deadlines and cancels."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from handlers.compute.model import Model
from handlers.operations.direct import generate
from handlers.operations.sampler import Sampler
from handlers.protocol.requests import Generate
from handlers.serving.batcher import Batcher
from handlers.serving.desk import Desk
from handlers.serving.server import RETRY_KEY, WorkerServer, remove_stale
from service.backend.channel import CallFailedError, Channel
from service.backend.protocol import messages
from tests.handlers.serving.fakes import wait_until

BYTES = 10**6


@dataclass
class Gate:
    """Holds every forward pass while it is closed, and counts those that came to it."""

    open: threading.Event = field(default_factory=threading.Event)
    passes: int = 0

    def __call__(self, *_: object) -> None:
        self.passes += 1
        self.open.wait(30)


@dataclass(frozen=True)
class Served:
    """A generator behind a socket."""

    model: Model
    path: Path
    gate: Gate
    batcher: Batcher

    def run(self, test: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        """Run a test with a function that calls Predict."""

        async def connected() -> None:
            channel = Channel(self.path, max_message_bytes=BYTES)
            async with asyncio.timeout(60):
                await test(channel)
            await channel.close()

        asyncio.run(connected())


@pytest.fixture
def served(generator: Model) -> Iterator[Served]:
    gate = Gate()
    gate.open.set()
    generator.network.register_forward_pre_hook(gate)
    batcher = Batcher(generator.sizes.proven, max_rows=200, max_bytes=BYTES, works=lambda: True)
    batcher.start()
    with tempfile.TemporaryDirectory(prefix="mintage-") as folder:  # short: paths of sockets are
        path = Path(folder, "socket.1")
        server = WorkerServer(Desk(Sampler(generator, BYTES), batcher), path, max_message_bytes=BYTES)
        server.start()
        yield Served(generator, path, gate, batcher)
        gate.open.set()
        server.close()
        batcher.close()
        assert not path.exists()


def message(request: dict[str, bytes]) -> bytes:
    text = request["request"]
    return struct.pack("<I", len(text)) + text + request.get("pixels", b"")


def predict(channel: Any, first: int = 0, count: int = 1, **options: Any) -> Any:
    return asyncio.ensure_future(
        channel.call("Predict", message(messages.generate_request(7, first, count)), **options)
    )


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_samples_come_back_as_they_are_made_here(served: Served) -> None:
    async def test(channel: Any) -> None:
        answers = await asyncio.gather(*(predict(channel, first, 3) for first in range(12)))
        for first, answer in enumerate(answers):
            [expected] = generate(served.model, [Generate(7, first, 3)])
            assert np.array_equal(messages.read_images(answer, (3, 6, 5, 2)).images, expected)  # type: ignore[arg-type]

    served.run(test)


def test_a_caller_that_leaves_takes_its_work_along(served: Served) -> None:
    async def test(channel: Any) -> None:
        served.gate.open.clear()
        first = predict(channel)
        await until(lambda: served.gate.passes)
        leaves, stays = predict(channel, 100, 8), predict(channel, 200, 1)
        await until(lambda: served.batcher.waiting()["interactive"] >= 9)
        leaves.cancel()
        await until(lambda: served.batcher.waiting()["interactive"] <= 8)
        served.gate.open.set()
        await asyncio.gather(first, stays)

    served.run(test)


def test_a_deadline_that_passes_in_the_queue_ends_the_call_and_its_work(served: Served) -> None:
    async def test(channel: Any) -> None:
        served.gate.open.clear()
        first = predict(channel)
        await until(lambda: served.gate.passes)
        with pytest.raises(CallFailedError) as error:
            await predict(channel, timeout_s=0.05)
        assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        served.gate.open.set()
        await first
        await until(lambda: not served.batcher.waiting()["interactive"])
        assert served.gate.passes == 1

    served.run(test)


def test_a_full_queue_says_when_to_come_back(served: Served) -> None:
    async def test(channel: Any) -> None:
        served.gate.open.clear()
        first = predict(channel)
        await until(lambda: served.gate.passes)
        calls = [predict(channel, 40 * number, 40) for number in range(5)]
        await until(lambda: served.batcher.waiting()["interactive"] == 200)
        with pytest.raises(CallFailedError) as error:
            await predict(channel)
        assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert float(error.value.metadata[RETRY_KEY]) > 0
        bulk = predict(channel, metadata={"mintage-class": "bulk", "mintage-client": "job"})
        await until(lambda: served.batcher.waiting()["bulk"])
        served.gate.open.set()
        await asyncio.gather(first, *calls, bulk)

    served.run(test)


def test_the_state_counts_open_calls_but_no_canary(served: Served) -> None:
    async def state(channel: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await channel.call("State", b""))
        return found

    async def test(channel: Any) -> None:
        served.gate.open.clear()
        call = predict(channel)
        canary = asyncio.ensure_future(channel.call("Predict", message(messages.canary_request())))
        await until(lambda: served.gate.passes)
        busy = await state(channel)
        assert (busy["calls"], busy["quiet_s"]) == (1, 0)
        served.gate.open.set()
        await asyncio.gather(call, canary)
        quiet = await state(channel)
        assert quiet["calls"] == 0 and quiet["waiting"] == {"interactive": 0, "bulk": 0}

    served.run(test)


@pytest.mark.parametrize("sent", [b"", b"\x01", b"\x09\x00\x00\x00short"])
def test_a_message_that_is_no_request_is_refused(served: Served, sent: bytes) -> None:
    async def test(channel: Any) -> None:
        with pytest.raises(CallFailedError) as error:
            await channel.call("Predict", sent)
        assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT

    served.run(test)


def test_sockets_that_dead_processes_left_are_removed_and_no_others(served: Served) -> None:
    left = served.path.with_name("socket.2")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    other = served.path.with_name("other.3")
    other.touch()
    remove_stale(served.path.parent, "socket")
    wait_until(lambda: not left.exists())
    assert served.path.exists() and other.exists()


def test_the_state_tells_of_a_pass_that_lasts_and_of_none_when_it_has_ended(served: Served) -> None:
    async def test(channel: Any) -> None:
        async def state() -> dict[str, Any]:
            return dict(json.loads(await channel.call("State", b"")))

        served.gate.open.clear()
        first = predict(channel)
        await until(lambda: served.gate.passes)
        early, late = await state(), await state()
        assert early["pass"] == late["pass"] and early["pass_s"] < late["pass_s"] and early["usual_s"] > 0
        served.gate.open.set()
        await first
        await until(lambda: not served.batcher.progress())
        assert "pass" not in await state()

    served.run(test)
