"""The Python client for asyncio; `mintage.client` gives it out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage._client import calls
from mintage._client.async_job_methods import AsyncJobMethods
from mintage._client.calls import Call, Classifications, Page
from mintage._client.channels import HEALTH_TIMEOUT_S, LOAD_TIMEOUT_S, OPTIONS, TIMEOUT_S, callable_of, metadata_of
from mintage._client.neuron_methods import AsyncNeuronMethods
from mintage.errors import from_rpc
from mintage.pictures import Pictures, to_pil
from mintage.retries import Attempts, Retries
from mintage.v1 import models_pb2

T = TypeVar("T")


class AsyncClient(AsyncJobMethods, AsyncNeuronMethods):
    """As `Client`, for asyncio; an asynchronous context manager. Its methods mean what those of `Client` mean."""

    def __init__(
        self, address: str, *, timeout_s: float = TIMEOUT_S, retries: Retries | None = None, name: str = ""
    ) -> None:
        self._metadata = metadata_of(name)
        self._address = address
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._opened: Any = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        if self._opened is not None:
            await self._opened.close()

    async def generate(
        self, model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
    ) -> NDArray[np.uint8]:
        """As `Client.generate`: uint8 [count, H, W, C]."""
        return await self._run(calls.generate(model, count, seed=seed, first_index=first_index), timeout_s)

    async def generate_pil(
        self, model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
    ) -> list[Image.Image]:
        """As `Client.generate_pil`."""
        return to_pil(await self.generate(model, count, seed=seed, first_index=first_index, timeout_s=timeout_s))

    async def classify(self, model: str, images: Pictures, *, timeout_s: float | None = None) -> Classifications:
        """As `Client.classify`."""
        return await self._run(calls.classify(model, images), timeout_s)

    async def models(self) -> list[models_pb2.Model]:
        """As `Client.models`."""
        return [model async for model in self._items(calls.list_models)]

    async def model(self, name: str) -> models_pb2.Model:
        """As `Client.model`."""
        return await self._run(calls.get_model(name))

    async def load_model(
        self, name: str, archive: str, *, workers: int = 0, timeout_s: float = LOAD_TIMEOUT_S
    ) -> models_pb2.Model:
        """As `Client.load_model`."""
        return await self._run(calls.load_model(name, archive, workers=workers), timeout_s)

    async def unload_model(self, name: str) -> None:
        """As `Client.unload_model`."""
        await self._run(calls.unload_model(name))

    async def scale_model(self, name: str, workers: int, *, timeout_s: float = LOAD_TIMEOUT_S) -> models_pb2.Model:
        """As `Client.scale_model`."""
        return await self._run(calls.scale_model(name, workers), timeout_s)

    async def health(self, service: str = "", *, timeout_s: float = HEALTH_TIMEOUT_S) -> bool:
        """As `Client.health`."""
        return await self._run(calls.health(service), timeout_s)

    @property
    def _channel(self) -> Any:
        """The connection, opened in the event loop that uses it."""
        if self._opened is None:
            self._opened = grpc.aio.insecure_channel(self._address, options=OPTIONS)
        return self._opened

    async def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(self._retries, repeatable=call.repeatable, timeout_s=limit_s)
        method = callable_of(self._channel.unary_unary, call)
        while True:
            try:
                return call.read(await method(call.request, timeout=attempts.remaining_s(), metadata=self._metadata))
            except grpc.RpcError as error:
                await asyncio.sleep(attempts.pause_after(from_rpc(error)))

    async def _stream(self, call: Call[T]) -> AsyncIterator[Any]:
        """The answers of a stream, which is cancelled when nobody wants more."""
        stream = callable_of(self._channel.unary_stream, call)(call.request, metadata=self._metadata)
        try:
            async for answer in stream:
                yield answer
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            stream.cancel()

    def _attempts(self) -> Attempts:
        return Attempts(self._retries, repeatable=True, timeout_s=None)

    async def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
        token = ""
        while True:
            page = await self._run(page_of(token))
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return
