"""The Python client: `Client` for ordinary code, `AsyncClient` for asyncio.

    with Client("127.0.0.1:50051") as client:
        images = client.generate("digits", 64, seed=7)  # uint8 [64, 28, 28, 1]
        said = client.classify("judge", images)
        print(said.labels, said.generated)
        print(client.detect("face-neuron", faces).confidences)

Every call has a deadline, which covers its retries. What may safely be repeated is repeated when the server does not
answer or says that it is overloaded. Errors are those of `mintage.errors`. Models and jobs may be named with or without
`models/` and `jobs/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage._client import calls
from mintage._client.aio import AsyncClient
from mintage._client.calls import Call, Classifications, Page
from mintage._client.channels import HEALTH_TIMEOUT_S, LOAD_TIMEOUT_S, OPTIONS, TIMEOUT_S, callable_of, metadata_of
from mintage._client.job_methods import JobMethods
from mintage._client.neuron_calls import Detections, Neuron, OptimalStimulus, TopStimuli
from mintage._client.neuron_methods import NeuronMethods
from mintage.errors import from_rpc
from mintage.pictures import Pictures, to_pil
from mintage.retries import Attempts, Retries
from mintage.v1 import models_pb2

__all__ = [
    "AsyncClient",
    "Classifications",
    "Client",
    "Detections",
    "Neuron",
    "OptimalStimulus",
    "Retries",
    "TopStimuli",
    "to_pil",
]

T = TypeVar("T")


class Client(JobMethods, NeuronMethods):
    """A client for code without asyncio; a context manager; threads may share it.

    Args:
        address: host:port of the API.
        timeout_s: Longest time of a call, its retries included, unless the call says otherwise.
        retries: How often a call that may be repeated is.
        name: Who calls: 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-'. Jobs share the workers fairly, and quotas
            count, by this name; '' leaves it to the address.
    """

    def __init__(
        self, address: str, *, timeout_s: float = TIMEOUT_S, retries: Retries | None = None, name: str = ""
    ) -> None:
        self._metadata = metadata_of(name)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._channel = grpc.insecure_channel(address, options=OPTIONS)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._channel.close()

    def generate(
        self, model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
    ) -> NDArray[np.uint8]:
        """Samples first_index to first_index + count - 1 of a seed, uint8 [count, H, W, C]."""
        return self._run(calls.generate(model, count, seed=seed, first_index=first_index), timeout_s)

    def generate_pil(
        self, model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
    ) -> list[Image.Image]:
        """As `generate`, as Pillow images."""
        return to_pil(self.generate(model, count, seed=seed, first_index=first_index, timeout_s=timeout_s))

    def classify(self, model: str, images: Pictures, *, timeout_s: float | None = None) -> Classifications:
        """What a classifier says of images: uint8 [N, H, W, C], or Pillow images, paths, bytes of image files."""
        return self._run(calls.classify(model, images), timeout_s)

    def models(self) -> list[models_pb2.Model]:
        """Every model that should be loaded, ready or not, in order of the names."""
        return list(self._items(calls.list_models))

    def model(self, name: str) -> models_pb2.Model:
        """One model."""
        return self._run(calls.get_model(name))

    def load_model(
        self, name: str, archive: str, *, workers: int = 0, timeout_s: float = LOAD_TIMEOUT_S
    ) -> models_pb2.Model:
        """Load a .mar of the server's archive folder and wait until it has proven itself; workers 0 chooses 1."""
        return self._run(calls.load_model(name, archive, workers=workers), timeout_s)

    def unload_model(self, name: str) -> None:
        """Unload a model."""
        self._run(calls.unload_model(name))

    def scale_model(self, name: str, workers: int, *, timeout_s: float = LOAD_TIMEOUT_S) -> models_pb2.Model:
        """Set a model's number of worker processes and wait until they are ready."""
        return self._run(calls.scale_model(name, workers), timeout_s)

    def health(self, service: str = "", *, timeout_s: float = HEALTH_TIMEOUT_S) -> bool:
        """Whether the server, a service such as `mintage.v1.JobService`, or `models/{model}` works now."""
        return self._run(calls.health(service), timeout_s)

    def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Make a call, again if that may help, and read its answer."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(self._retries, repeatable=call.repeatable, timeout_s=limit_s)
        method = callable_of(self._channel.unary_unary, call)
        while True:
            try:
                return call.read(method(call.request, timeout=attempts.remaining_s(), metadata=self._metadata))
            except grpc.RpcError as error:
                time.sleep(attempts.pause_after(from_rpc(error)))

    def _stream(self, call: Call[T]) -> Iterator[Any]:
        """The answers of a stream, which is cancelled when nobody wants more."""
        stream = callable_of(self._channel.unary_stream, call)(call.request, metadata=self._metadata)
        try:
            yield from stream
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            stream.cancel()

    def _attempts(self) -> Attempts:
        return Attempts(self._retries, repeatable=True, timeout_s=None)

    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
        token = ""
        while True:
            page = self._run(page_of(token))
            yield from page.items
            token = page.next_token
            if not token:
                return
