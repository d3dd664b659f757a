"""What the asynchronous client can ask of bulk jobs; part of `mintage.client`."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from mintage._client import job_calls
from mintage._client.calls import Call, Page
from mintage._client.downloads import FileReader, ShardReader
from mintage.errors import ApiError
from mintage.retries import Attempts
from mintage.v1 import jobs_pb2, verification_pb2

T = TypeVar("T")


class AsyncJobMethods:
    """Part of `AsyncClient`."""

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
        attempts, token = self._attempts(), ""
        while True:
            try:
                async for answer in self._stream(job_calls.watch_job(name, token)):
                    attempts.succeeded()
                    token = answer.resume_token
                    yield answer.job
                    if job_calls.has_ended(answer.job):
                        return
            except ApiError as error:
                await asyncio.sleep(attempts.pause_after(error))

    async def cancel(self, name: str) -> jobs_pb2.CancelJobResponse:
        """As `Client.cancel`."""
        return await self._run(job_calls.cancel_job(name))

    async def pause(self, name: str) -> jobs_pb2.PauseJobResponse:
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
        self, name: str, *, recompute: int = 0, seed: int = 0
    ) -> AsyncIterator[verification_pb2.VerifyJobResponse]:
        """As `Client.verify`."""
        async for part in self._stream(job_calls.verify_job(name, recompute=recompute, seed=seed)):
            yield part

    def shards(self, name: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()) -> AsyncIterator[jobs_pb2.Shard]:
        """As `Client.shards`."""
        return self._items(lambda token: job_calls.list_shards(name, token, states))

    @abstractmethod
    async def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Make a call and read its answer."""

    @abstractmethod
    def _stream(self, call: Call[T]) -> AsyncIterator[Any]:
        """The answers of a stream."""

    @abstractmethod
    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
        """The items of every page."""

    @abstractmethod
    def _attempts(self) -> Attempts:
        """Attempts at a call without a deadline."""
