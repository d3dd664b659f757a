"""How `Client` asks: with a time limit, again where that may help, page by page, answer by answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from mintage._client.calls import Call, Pages, Resumable, Stream, sent
from mintage._client.channels import callable_of, checked, closed, metadata_of, options_for, proxy_hint
from mintage.errors import ApiError, from_rpc
from mintage.retries import Attempts, Retries

T = TypeVar("T")


class Connection:
    """A connection to one API. `async_connection` has the same for asyncio."""

    def __init__(self, address: str, *, timeout_s: float, retries: Retries | None, name: str) -> None:
        self._metadata = metadata_of(name)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._address = checked(address)
        self._answered = False
        self._opened = grpc.insecure_channel(self._address, options=options_for(address))
        self._closed = False

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._closed = True
        self._opened.close()

    def run(self, call: Call[T]) -> T:
        """Make a call, again if that may help, and read its answer."""
        limit_s = self._timeout_s if call.timeout_s is None else call.timeout_s
        attempts = Attempts(self._retries, repeatable=call.repeatable, timeout_s=limit_s, had_an_answer=self._answered)
        while True:
            stream = callable(call.request)
            method = callable_of(self._channel.stream_unary if stream else self._channel.unary_unary, call)
            try:
                answer = method(sent(call), timeout=attempts.remaining_s(), metadata=self._metadata)
            except grpc.RpcError as error:
                failure = self._failure(error)
            else:
                self._answered = True
                return call.read(answer)
            time.sleep(attempts.pause_after(failure))  # not above, where it would be raised with grpc's own traceback

    def items(self, pages: Pages[T]) -> Iterator[T]:
        """The items of every page, each page fetched when it is needed."""
        token = ""
        while True:
            page = self.run(pages.call(token))
            yield from page.items
            token = page.next_token
            if not token:
                return

    def all(self, pages: Pages[T]) -> list[T]:
        """The items of every page at once."""
        return list(self.items(pages))

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """The answers of a stream, which is not repeated."""
        yield from self._answers(stream.call)
        stream.check()

    def resumed(self, stream: Resumable[T]) -> Iterator[T]:
        """The answers of a stream, resumed whenever the server goes away."""
        attempts = Attempts(self._retries, repeatable=True, timeout_s=None)
        while not stream.ended:
            try:
                for answer in self._answers(stream.call()):
                    attempts.succeeded()
                    yield answer
                    if stream.ended:
                        return
            except ApiError as error:
                time.sleep(attempts.pause_after(error))

    @property
    def _channel(self) -> Any:
        if self._closed:
            raise closed()
        return self._opened

    def _failure(self, error: Any) -> ApiError:
        return from_rpc(error, hint=proxy_hint(self._address))

    def _answers(self, call: Call[T]) -> Iterator[T]:
        """The answers of one stream, which is cancelled when no more are wanted."""
        answers = callable_of(self._channel.unary_stream, call)(call.request, metadata=self._metadata)
        try:
            for answer in answers:
                yield call.read(answer)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            answers.cancel()
