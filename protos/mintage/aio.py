"""The Python client for asyncio; `mintage.client` gives it out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import calls, job_calls
from mintage.calls import Call, Classifications, Page
from mintage.channels import HEALTH_TIMEOUT_S, LOAD_TIMEOUT_S, OPTIONS, TIMEOUT_S, callable_of, metadata_of
from mintage.errors import from_rpc
from mintage.neuron_methods import AsyncNeuronMethods
from mintage.pictures import Pictures, to_pil
from mintage.retries import Attempts, Retries
from mintage.shards import FileReader, ShardReader
from mintage.v1 import jobs_pb2, models_pb2, verification_pb2

T = TypeVar("T")


class AsyncClient(AsyncNeuronMethods):
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

    async def create_sample_job(
        self,
        model: str,
        count: int,
        *,
        seed: int = 0,
        shard_size: int = 0,
        output_prefix: str = "",
        request_id: str | None = None,
        max_images_per_second: float = 0.0,
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl_s: float = 0.0,
        max_failed_shards: int | None = None,
        format: str = "webdataset",  # noqa: A002 - as the field is called
        validate_only: bool = False,
    ) -> jobs_pb2.Job:
        """As `Client.create_sample_job`."""
        return await self._run(
            job_calls.create_sample_job(
                model,
                count,
                seed=seed,
                shard_size=shard_size,
                output_prefix=output_prefix,
                request_id=request_id,
                max_images_per_second=max_images_per_second,
                priority=priority,
                labels=labels,
                ttl_s=ttl_s,
                max_failed_shards=max_failed_shards,
                format=format,
                validate_only=validate_only,
            )
        )

    async def create_score_job(
        self,
        model: str,
        source_job: str = "",
        *,
        source_folder: str = "",
        reference_job: str = "",
        shard_size: int = 0,
        splits: int = 0,
        output_prefix: str = "",
        request_id: str | None = None,
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl_s: float = 0.0,
        max_failed_shards: int | None = None,
        validate_only: bool = False,
    ) -> jobs_pb2.Job:
        """As `Client.create_score_job`."""
        return await self._run(
            job_calls.create_score_job(
                model,
                source_job,
                source_folder=source_folder,
                reference_job=reference_job,
                shard_size=shard_size,
                splits=splits,
                output_prefix=output_prefix,
                request_id=request_id,
                priority=priority,
                labels=labels,
                ttl_s=ttl_s,
                max_failed_shards=max_failed_shards,
                validate_only=validate_only,
            )
        )

    async def job(self, name: str) -> jobs_pb2.Job:
        """As `Client.job`."""
        return await self._run(job_calls.get_job(name))

    def jobs(
        self,
        states: Sequence[jobs_pb2.Job.State.ValueType] = (),
        *,
        labels: Mapping[str, str] | None = None,
        kind: jobs_pb2.Job.Kind.ValueType = jobs_pb2.Job.KIND_UNSPECIFIED,
        client: str = "",
    ) -> AsyncIterator[jobs_pb2.Job]:
        """As `Client.jobs`."""
        return self._items(lambda token: job_calls.list_jobs(token, states, labels=labels, kind=kind, client=client))

    async def watch(self, name: str) -> AsyncIterator[jobs_pb2.Job]:
        """As `Client.watch`."""
        attempts = Attempts(self._retries, repeatable=True, timeout_s=None)
        token = ""
        while True:
            call = job_calls.watch_job(name, token)
            stream = callable_of(self._channel.unary_stream, call)(call.request, metadata=self._metadata)
            try:
                async for answer in stream:
                    attempts.succeeded()
                    token = answer.resume_token
                    yield answer.job
                    if job_calls.has_ended(answer.job):
                        return
            except grpc.RpcError as error:
                await asyncio.sleep(attempts.pause_after(from_rpc(error)))
            finally:
                stream.cancel()

    async def cancel(self, name: str) -> jobs_pb2.Job:
        """As `Client.cancel`."""
        return await self._run(job_calls.cancel_job(name))

    async def pause(self, name: str) -> jobs_pb2.Job:
        """As `Client.pause`."""
        return await self._run(job_calls.pause_job(name))

    async def resume(self, name: str) -> jobs_pb2.Job:
        """As `Client.resume`."""
        return await self._run(job_calls.resume_job(name))

    async def retry(self, name: str) -> jobs_pb2.Job:
        """As `Client.retry`."""
        return await self._run(job_calls.retry_failed_shards(name))

    async def delete(self, name: str, *, force: bool = False) -> None:
        """As `Client.delete`."""
        await self._run(job_calls.delete_job(name, force=force))

    async def read_shard(self, name: str, index: int) -> AsyncIterator[bytes]:
        """As `Client.read_shard`."""
        reader = ShardReader()
        async for part in self._stream(job_calls.read_shard(name, index)):
            yield reader.take(part)
        reader.check()

    async def files(self, name: str) -> list[jobs_pb2.JobFile]:
        """As `Client.files`."""
        return list(await self._run(job_calls.list_files(name)))

    async def read_file(self, name: str, file_name: str) -> AsyncIterator[bytes]:
        """As `Client.read_file`."""
        reader = FileReader()
        async for part in self._stream(job_calls.read_file(name, file_name)):
            yield reader.take(part)
        reader.check()

    async def verify(
        self, name: str, *, strike: int = 0, seed: int = 0
    ) -> AsyncIterator[verification_pb2.VerifyJobResponse]:
        """As `Client.verify`."""
        async for part in self._stream(job_calls.verify_job(name, strike=strike, seed=seed)):
            yield part

    def shards(self, name: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()) -> AsyncIterator[jobs_pb2.Shard]:
        """As `Client.shards`."""
        return self._items(lambda token: job_calls.list_shards(name, token, states))

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

    async def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
        token = ""
        while True:
            page = await self._run(page_of(token))
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return
