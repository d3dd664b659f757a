"""A TCP proxy with faults, in a thread of its own: what Toxiproxy does, as far as a job's connections need it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

PART = 1 << 16
LINGER_OFF = struct.pack("ii", 1, 0)  # a close sends RST


@dataclass(slots=True)
class Faults:
    """What happens to bytes now. `latency_s` delays each part; `bytes_left` cuts each connection after so many."""

    latency_s: float = 0.0
    drop: bool = False
    reset: bool = False
    bytes_left: int | None = None


@dataclass(slots=True, eq=False)
class Connection:
    """Both ends of one connection. A deaf one has lost bytes: nothing can pass it any more, and neither end knows."""

    ends: list[asyncio.StreamWriter] = field(default_factory=list)
    deaf: bool = False
    passed: int = 0


class FaultyProxy:
    """Passes every connection on to one port of this machine, with the fault that was asked for last.

    `slow`, `blackhole`, `reset`, `cut_after` and `half_open` act on the connections there are and, but for the last,
    on new ones; `heal` ends them. What was dropped stays lost: such a connection is half-open until an end gives it up.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._faults = Faults()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def heal(self) -> None:
        """Let everything pass again."""
        self._set(Faults())

    def slow(self, latency_s: float) -> None:
        """Delay every part of the stream, both ways."""
        self._set(Faults(latency_s=latency_s))

    def blackhole(self) -> None:
        """Accept connections and everything sent on them, and pass on nothing."""
        self._set(Faults(drop=True))

    def reset(self) -> None:
        """End every connection with RST, new ones at once."""
        self._set(Faults(reset=True))
        self._loop.call_soon_threadsafe(self._reset_all)

    def cut_after(self, count: int) -> None:
        """End each connection with RST after so many bytes more, in the middle of a reply maybe."""
        self._set(Faults(bytes_left=count))

    def half_open(self) -> None:
        """Make the connections there are deaf for ever; new ones work."""

        def deafen() -> None:
            for connection in self._connections:
                connection.deaf = True

        self._set(Faults())
        self._loop.call_soon_threadsafe(deafen)

    def close(self) -> None:
        """End everything."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _set(self, faults: Faults) -> None:
        def put() -> None:
            self._faults = faults
            for connection in self._connections:
                connection.passed = 0

        self._loop.call_soon_threadsafe(put)

    def _run(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        return future.result(10)

    async def _close(self) -> None:
        self._server.close()
        self._reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset_all(self) -> None:
        for connection in self._connections:
            _reset(connection)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection([writer])
        self._connections.add(connection)
        try:
            if not self._faults.reset:
                await self._connect(connection, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            _reset(connection)
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _connect(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pump both ways until an end hangs up; that of one way ends both."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        connection.ends.append(far_writer)
        pumps = [
            asyncio.create_task(self._pump(connection, reader, far_writer)),
            asyncio.create_task(self._pump(connection, far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PART):
            await asyncio.sleep(self._faults.latency_s)
            faults = self._faults
            if connection.deaf or faults.drop:
                connection.deaf = True
                continue
            if faults.bytes_left is not None:
                data = data[: faults.bytes_left - connection.passed]
                connection.passed += len(data)
            writer.write(data)
            await writer.drain()
            if faults.bytes_left is not None and connection.passed >= faults.bytes_left:
                return


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _reset(connection: Connection) -> None:
    for end in connection.ends:
        with contextlib.suppress(OSError):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
        end.transport.abort()


@contextlib.contextmanager
def running_proxy(port: int) -> Iterator[FaultyProxy]:
    """Run a proxy in front of a port for the length of a block."""
    proxy = FaultyProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
