"""How `AsyncClient` asks: as `connection`, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import grpc

from mintage._client.calls import Call, Pages, Resumable, Stream, sent
from mintage._client.channels import callable_of, checked, closed, metadata_of, options_for, proxy_hint
from mintage.errors import ApiError, from_rpc
from mintage.retries import Attempts, Retries

T = TypeVar("T")


class AsyncConnection:
    """A connection to one API; each event loop that makes a call opens a channel of its own."""

    def __init__(self, address: str, *, timeout_s: float, retries: Retries | None, name: str) -> None:
        self._metadata = metadata_of(name)
        self._address = checked(address)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._answered = False
        self._opened: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._closed = False

    async def close(self) -> None:
        """Close the connection; calls in flight fail. Channels of event loops that have ended ended with them."""
        self._closed = True
        channel = self._opened.pop(asyncio.get_running_loop(), None)
        if channel is not None:
            await channel.close()

    async def run(self, call: Call[T]) -> T:
        """Make a call, again if that may help, and read its answer."""
        limit_s = self._timeout_s if call.timeout_s is None else call.timeout_s
        attempts = Attempts(self._retries, repeatable=call.repeatable, timeout_s=limit_s, had_an_answer=self._answered)
        while True:
            stream = callable(call.request)
            method = callable_of(self._channel.stream_unary if stream else self._channel.unary_unary, call)
            try:
                answer = await method(sent(call), timeout=attempts.remaining_s(), metadata=self._metadata)
            except grpc.RpcError as error:
                failure = self._failure(error)
            else:
                self._answered = True
                return call.read(answer)
            await asyncio.sleep(attempts.pause_after(failure))  # see Connection.run

    async def items(self, pages: Pages[T]) -> AsyncIterator[T]:
        """The items of every page, each page fetched when it is needed."""
        token = ""
        while True:
            page = await self.run(pages.call(token))
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return

    async def all(self, pages: Pages[T]) -> list[T]:
        """The items of every page at once."""
        return [item async for item in self.items(pages)]

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """The answers of a stream, which is not repeated."""
        async with aclosing(self._answers(stream.call)) as answers:
            async for answer in answers:
                yield answer
        stream.check()

    async def resumed(self, stream: Resumable[T]) -> AsyncIterator[T]:
        """The answers of a stream, resumed whenever the server goes away."""
        attempts = Attempts(self._retries, repeatable=True, timeout_s=None)
        while not stream.ended:
            try:
                async with aclosing(self._answers(stream.call())) as answers:
                    async for answer in answers:
                        attempts.succeeded()
                        yield answer
                        if stream.ended:
                            return
            except ApiError as error:
                await asyncio.sleep(attempts.pause_after(error))

    @property
    def _channel(self) -> Any:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if loop not in self._opened:
            self._opened[loop] = grpc.aio.insecure_channel(self._address, options=options_for(self._address))
        return self._opened[loop]

    def _failure(self, error: Any) -> ApiError:
        return from_rpc(error, hint=proxy_hint(self._address))

    async def _answers(self, call: Call[T]) -> AsyncGenerator[T, None]:
        """The answers of one stream, which is cancelled when no more are wanted."""
        answers = callable_of(self._channel.unary_stream, call)(call.request, metadata=self._metadata)
        try:
            async for answer in answers:
                yield call.read(answer)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            answers.cancel()
