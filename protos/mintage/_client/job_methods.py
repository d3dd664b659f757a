"""What the client can ask of bulk jobs; part of `mintage.client`. `async_job_methods` has the same for asyncio."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mintage._client import job_calls
from mintage._client.calls import Call, Page
from mintage._client.downloads import FileReader, ShardReader
from mintage.errors import ApiError
from mintage.retries import Attempts
from mintage.v1 import jobs_pb2, verification_pb2

T = TypeVar("T")


class JobMethods:
    """Part of `Client`; a job is named with or without `jobs/`."""

    def create_sample_job(
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
        """Create a durable job that makes `count` images; the server chooses what is 0 or empty.

        The same request_id gives the same job; by default each call has a new one. `ttl_s` seconds after its end the
        job is deleted with its files; one more failed shard than `max_failed_shards` ends it. `format` is `webdataset`,
        `png`, `parquet` or `npz`. With `validate_only` nothing is created: the answer is the job as it would be,
        without a name.
        """
        return self._run(
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

    def create_score_job(
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
        """Create a job that scores images with a classifier, or with the concept neurons of an autoencoder.

        The images are those of a finished sample job, or of a folder below the server's input folder, which is cut into
        shards of `shard_size`. They are compared with those of `reference_job`, a finished score job by the same model.
        The other parameters are as above.
        """
        return self._run(
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

    def job(self, name: str) -> jobs_pb2.Job:
        """One job."""
        return self._run(job_calls.get_job(name))

    def jobs(
        self,
        states: Sequence[jobs_pb2.Job.State.ValueType] = (),
        *,
        labels: Mapping[str, str] | None = None,
        kind: jobs_pb2.Job.Kind.ValueType = jobs_pb2.Job.KIND_UNSPECIFIED,
        client: str = "",
    ) -> Iterator[jobs_pb2.Job]:
        """Every job, or those that are as asked for, the newest first, fetched page by page; empty is any."""
        return self._items(lambda token: job_calls.list_jobs(token, states, labels=labels, kind=kind, client=client))

    def watch(self, name: str) -> Iterator[jobs_pb2.Job]:
        """A job now and after every change, until it has ended: as long as that takes, over restarts of the server.

        What has been seen is not shown again, and no number of the progress falls, unless failed shards are retried.
        """
        attempts, token = self._attempts(), ""
        while True:
            try:
                for answer in self._stream(job_calls.watch_job(name, token)):
                    attempts.succeeded()
                    token = answer.resume_token
                    yield answer.job
                    if job_calls.has_ended(answer.job):
                        return
            except ApiError as error:
                time.sleep(attempts.pause_after(error))

    def cancel(self, name: str) -> jobs_pb2.CancelJobResponse:
        """Cancel a job; it stops within one micro-batch.

        `durable` is false while that could not be written beside the job's files, on a full disk for example.
        """
        return self._run(job_calls.cancel_job(name))

    def pause(self, name: str) -> jobs_pb2.PauseJobResponse:
        """Pause a job; workers stop within one micro-batch and nothing is lost. `durable` as in `cancel`."""
        return self._run(job_calls.pause_job(name))

    def resume(self, name: str) -> jobs_pb2.Job:
        """Resume a paused job."""
        return self._run(job_calls.resume_job(name))

    def retry(self, name: str) -> jobs_pb2.Job:
        """Give the failed shards of a job that has ended fresh attempts; the others stay as they are."""
        return self._run(job_calls.retry_failed_shards(name))

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a job that has ended, and its files; `force` cancels one that has not, and waits for its end."""
        self._run(job_calls.delete_job(name, force=force))

    def read_shard(self, name: str, index: int) -> Iterator[bytes]:
        """The bytes of a finished shard's file, piece by piece.

        Raises:
            Damaged: at the end, if they are not what their digest says.
        """
        reader = ShardReader()
        for part in self._stream(job_calls.read_shard(name, index)):
            yield reader.take(part)
        reader.check()

    def files(self, name: str) -> list[jobs_pb2.JobFile]:
        """The files of a job beside its shards: plan, manifest, contact sheet, scores, report."""
        return list(self._run(job_calls.list_files(name)))

    def read_file(self, name: str, file_name: str) -> Iterator[bytes]:
        """The bytes of one of these files, piece by piece.

        Raises:
            Damaged: at the end, if they are not what the server read.
        """
        reader = FileReader()
        for part in self._stream(job_calls.read_file(name, file_name)):
            yield reader.take(part)
        reader.check()

    def verify(self, name: str, *, recompute: int = 0, seed: int = 0) -> Iterator[verification_pb2.VerifyJobResponse]:
        """Hash every shard of a job that has ended: its parts are progress and findings, the last one is the verdict.

        `recompute` samples of a sample job, drawn by the seed, are recomputed and compared byte by byte.
        """
        yield from self._stream(job_calls.verify_job(name, recompute=recompute, seed=seed))

    def shards(self, name: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()) -> Iterator[jobs_pb2.Shard]:
        """The shards of a job in order, or those in these states, fetched as they are asked for."""
        return self._items(lambda token: job_calls.list_shards(name, token, states))

    @abstractmethod
    def _run(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Make a call and read its answer."""

    @abstractmethod
    def _stream(self, call: Call[T]) -> Iterator[Any]:
        """The answers of a stream."""

    @abstractmethod
    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
        """The items of every page."""

    @abstractmethod
    def _attempts(self) -> Attempts:
        """Attempts at a call without a deadline."""
