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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import calls, job_calls
from mintage.aio import AsyncClient
from mintage.calls import Call, Classifications, Page
from mintage.channels import HEALTH_TIMEOUT_S, LOAD_TIMEOUT_S, OPTIONS, TIMEOUT_S, callable_of, metadata_of
from mintage.errors import from_rpc
from mintage.neuron_calls import Detections, Neuron, OptimalStimulus, TopStimuli
from mintage.neuron_methods import NeuronMethods
from mintage.pictures import Pictures, to_pil
from mintage.retries import Attempts, Retries
from mintage.shards import FileReader, ShardReader
from mintage.v1 import jobs_pb2, models_pb2, verification_pb2

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


class Client(NeuronMethods):
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
        attempts = Attempts(self._retries, repeatable=True, timeout_s=None)
        token = ""
        while True:
            try:
                for answer in self._stream(job_calls.watch_job(name, token)):
                    attempts.succeeded()
                    token = answer.resume_token
                    yield answer.job
                    if job_calls.has_ended(answer.job):
                        return
            except grpc.RpcError as error:
                time.sleep(attempts.pause_after(from_rpc(error)))

    def cancel(self, name: str) -> jobs_pb2.Job:
        """Ask a job to stop; it does within one micro-batch."""
        return self._run(job_calls.cancel_job(name))

    def pause(self, name: str) -> jobs_pb2.Job:
        """Pause a job; workers stop within one micro-batch and nothing is lost."""
        return self._run(job_calls.pause_job(name))

    def resume(self, name: str) -> jobs_pb2.Job:
        """Let a paused job go on."""
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
        try:
            for part in self._stream(job_calls.read_shard(name, index)):
                yield reader.take(part)
        except grpc.RpcError as error:
            raise from_rpc(error) from None
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
        try:
            for part in self._stream(job_calls.read_file(name, file_name)):
                yield reader.take(part)
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        reader.check()

    def verify(self, name: str, *, strike: int = 0, seed: int = 0) -> Iterator[verification_pb2.VerifyJobResponse]:
        """Hash every shard of a job that has ended: its parts are progress and findings, the last one is the verdict.

        `strike` micro-batches of a sample job, drawn by the seed, are made again and compared byte by byte.
        """
        try:
            yield from self._stream(job_calls.verify_job(name, strike=strike, seed=seed))
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    def shards(self, name: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()) -> Iterator[jobs_pb2.Shard]:
        """The shards of a job in order, or those in these states, fetched as they are asked for."""
        return self._items(lambda token: job_calls.list_shards(name, token, states))

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
        finally:
            stream.cancel()

    def _items(self, page_of: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
        token = ""
        while True:
            page = self._run(page_of(token))
            yield from page.items
            token = page.next_token
            if not token:
                return
