"""Calls reach the processes of a model by their sockets, and what they end with is told as it is."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from handlers.serving.listener import Call, CallError, Listener, Method, listen
from service import errors
from service.backend.workers import RETRY_KEY, Workers, socket_name
from tests.support.world import run, until

REQUEST = {"request": b'{"op": "describe"}', "pixels": b"\x01\x02"}


@dataclass
class Process:
    """A worker: what it was asked, and what it does. Calls wait for `open`; `quiet_s` is what it says of itself."""

    name: str = "first"
    fails: tuple[str, dict[str, str]] | None = None
    quiet_s: float = 1e9
    asked: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    cancelled: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def predict(self, message: bytes, call: Call) -> bytes:
        """Note a call and answer with the name."""
        self.asked.append((message, dict(call.metadata)))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails is not None:
            raise CallError(self.fails[0], "as the test wants it", self.fails[1])
        return self.name.encode()

    async def state(self, _: bytes, __: Call) -> bytes:
        """Say how long nobody has called."""
        return json.dumps({"calls": 0, "quiet_s": self.quiet_s}).encode()


class Host:
    """A folder of sockets, and what calls them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers = Workers(folder, max_message_bytes=2**20)
        self.servers: list[Listener] = []

    async def start(self, pid: int, **options: Any) -> Process:
        """Start a worker of model `m`."""
        process = Process(**options)
        process.open.set()
        methods: dict[str, Method] = {"Predict": process.predict, "State": process.state}
        self.servers.append(await listen(self.folder / socket_name("m", pid), methods, max_message_bytes=2**20))
        return process

    async def predict(self, **options: Any) -> str:
        """Call model `m`; returns the name of the worker that answered."""
        return (await self.workers.predict("m", REQUEST, **{"timeout_s": 30, **options})).decode()


def on_host(test: Callable[[Host], Coroutine[Any, Any, None]]) -> None:
    async def tested() -> None:
        with tempfile.TemporaryDirectory(prefix="mintage-") as folder:
            host = Host(Path(folder))
            try:
                await test(host)
            finally:
                await host.workers.close()
                for server in host.servers:
                    server.close()

    run(tested())


def test_a_call_arrives_whole_and_says_whose_it_is() -> None:
    async def test(host: Host) -> None:
        process = await host.start(1)
        assert await host.predict(client="painter", priority="bulk") == "first"
        [(message, metadata)] = process.asked
        assert message == b"\x12\x00\x00\x00" + REQUEST["request"] + REQUEST["pixels"]
        assert (metadata["mintage-client"], metadata["mintage-class"]) == ("painter", "bulk")

    on_host(test)


def test_the_process_with_the_fewest_of_our_calls_is_asked() -> None:
    async def test(host: Host) -> None:
        processes = [await host.start(pid, name=str(pid)) for pid in (1, 2, 3)]
        for process in processes:
            process.open.clear()
        calls = [asyncio.create_task(host.predict()) for _ in range(9)]
        await until(lambda: all(len(process.asked) == 3 for process in processes))
        for process in processes:
            process.open.set()
        assert sorted(await asyncio.gather(*calls)) == ["1"] * 3 + ["2"] * 3 + ["3"] * 3

    on_host(test)


def test_processes_that_come_later_are_found() -> None:
    async def test(host: Host) -> None:
        with pytest.raises(errors.Unavailable) as failure:
            await host.predict()
        assert failure.value.reason == "NO_WORKER"
        await host.start(1)
        assert await host.predict() == "first"
        second = await host.start(2, name="second")
        await until(lambda: len(host.workers.of("m")) == 2)
        await asyncio.gather(host.predict(), host.predict())
        assert second.asked
        assert host.workers.of("another") == []
        (host.folder / socket_name("m", 2)).unlink()
        await until(lambda: len(host.workers.of("m")) == 1)
        assert len(host.workers._workers) == 1 and await host.predict() == "first"

    on_host(test)


def test_a_folder_that_is_not_there_has_no_processes(tmp_path: Path) -> None:
    async def test(host: Host) -> None:
        host.workers = Workers(tmp_path / "nowhere", max_message_bytes=2**20)
        with pytest.raises(errors.Unavailable):
            await host.predict()

    on_host(test)


def test_a_call_that_is_lost_with_its_process_is_made_again_at_another() -> None:
    async def test(host: Host) -> None:
        dies = await host.start(1, name="dies")
        assert await host.predict() == "dies"
        await host.start(2, name="lives")
        await until(lambda: len(host.workers.of("m")) == 2)
        dies.fails = ("UNAVAILABLE", {})
        assert {await host.predict() for _ in range(6)} == {"lives"}

    on_host(test)


def test_a_call_that_takes_its_processes_along_ends_none_beyond_two() -> None:
    async def test(host: Host) -> None:
        processes = [await host.start(pid, name=str(pid)) for pid in (1, 2, 3)]
        await until(lambda: len(host.workers.of("m")) == 3)
        while len({await host.predict() for _ in range(3)}) < 3 and not all(each.asked for each in processes):
            await asyncio.gather(*(host.predict() for _ in range(3)))
        for process in processes:
            process.asked.clear()
            process.fails = ("UNAVAILABLE", {})
        with pytest.raises(errors.Unavailable) as failure:
            await host.predict()
        assert failure.value.reason == "WORKER_DIED"
        assert sum(len(process.asked) for process in processes) == 2

    on_host(test)


def test_sockets_that_dead_processes_left_cost_no_call() -> None:
    async def test(host: Host) -> None:
        for pid in (7, 8, 9):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(host.folder / socket_name("m", pid)))
        with pytest.raises(errors.Unavailable) as failure:
            await host.predict()
        assert failure.value.reason == "NO_WORKER"
        await host.start(1)
        assert {await host.predict() for _ in range(5)} == {"first"}

    on_host(test)


def test_a_full_queue_says_when_to_come_back() -> None:
    async def test(host: Host) -> None:
        await host.start(1, fails=("RESOURCE_EXHAUSTED", {RETRY_KEY: "2.5"}))
        with pytest.raises(errors.ResourceExhausted) as failure:
            await host.predict()
        assert failure.value.retry_after_s == 2.5

    on_host(test)


def test_a_message_larger_than_the_limit_is_our_fault() -> None:
    async def test(host: Host) -> None:
        await host.start(1)
        with pytest.raises(errors.Internal) as failure:
            await host.workers.predict("m", {"request": b"{}", "pixels": bytes(2**20)}, timeout_s=30)
        assert failure.value.reason == "MESSAGE_TOO_LARGE"

    on_host(test)


def test_a_deadline_and_a_cancel_reach_the_process() -> None:
    async def test(host: Host) -> None:
        process = await host.start(1)
        process.open.clear()
        with pytest.raises(errors.DeadlineExceeded):
            await host.predict(timeout_s=0.05)
        await until(lambda: process.cancelled == 1)
        call = asyncio.create_task(host.predict())
        await until(lambda: len(process.asked) == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: process.cancelled == 2)

    on_host(test)


def test_every_process_can_be_asked_and_those_that_are_gone_are_left_out() -> None:
    async def test(host: Host) -> None:
        processes = [await host.start(pid, name=str(pid)) for pid in (1, 2, 3)]
        processes[1].fails = ("UNAVAILABLE", {})
        assert sorted(await host.workers.answering("m", REQUEST, timeout_s=30)) == [b"1", b"3"]
        processes[2].open.clear()
        with pytest.raises(errors.DeadlineExceeded):
            await host.workers.answering("m", REQUEST, timeout_s=0.1)

    on_host(test)


def test_a_model_is_drained_once_nobody_has_called_for_a_moment() -> None:
    async def test(host: Host) -> None:
        assert await host.workers.drain("m", 1)
        process = await host.start(1, quiet_s=0)
        draining = asyncio.create_task(host.workers.drain("m", 30))
        assert not (await asyncio.wait({draining}, timeout=0.2))[0]
        process.quiet_s = 10
        assert await draining
        process.quiet_s = 0
        assert not await host.workers.drain("m", 0.1)

    on_host(test)
