"""Workers' sockets whose calls are answered by plain functions in threads, as gRPC's servers do it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import grpc

from handlers.serving.listener import Call, CallError, Listener, Method, listen

MESSAGE_BYTES = 2**26


class Context:
    """What a function is told of its call, under the names that gRPC has for it."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def abort(self, code: grpc.StatusCode, message: str) -> NoReturn:
        """End the call with an error."""
        raise CallError(code.name, message)

    def is_active(self) -> bool:
        """Whether the caller still waits."""
        return not self.left.is_set()


Answer = Callable[[bytes, Context], bytes]


class SocketServer:
    """An event loop in a thread with any number of sockets; `stop` ends them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._listeners: list[Listener] = []
        self._thread.start()

    def listen(self, path: Path, methods: Mapping[str, Answer]) -> None:
        """Answer calls of these methods on a socket."""
        made = {name: self._method(answer) for name, answer in methods.items()}
        listening = listen(path, made, max_message_bytes=MESSAGE_BYTES)
        self._listeners.append(asyncio.run_coroutine_threadsafe(listening, self._loop).result(30))

    def stop(self) -> None:
        """Break all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(0)  # connections are told
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    def _method(self, answer: Answer) -> Method:
        async def method(message: bytes, _: Call) -> bytes:
            context = Context()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, answer, message, context)
            finally:
                context.left.set()

        return method
