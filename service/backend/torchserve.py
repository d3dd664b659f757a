"""TorchServe over gRPC. `torchserve_errors` tells its failures apart.

Every call has a deadline. TorchServe does not hear of a client's cancel: a cancelled `predict` still occupies its
worker, so code that counts slots shields the call (`asyncio.shield`) and frees the slot when it really ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc

from service.addresses import NO_PROXY
from service.backend import messages
from service.backend.description import ModelDescription
from service.backend.torchserve_errors import has_no_worker, management_error, prediction_error
from service.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    MintageError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from service.settings import Settings

MANAGEMENT_TIMEOUT_S = 10.0  # for calls that change nothing in a worker, and on top of the time that workers need
POLL_S = 0.1  # between two looks at a model that starts, which takes seconds


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """What TorchServe says about one model. A ready worker may hang: only `wait_until_ready` shows that it answers."""

    workers_ready: int
    workers_total: int
    pending_requests: int
    queue_left: int

    @property
    def ready(self) -> bool:
        """Whether every worker is ready."""
        return 0 < self.workers_total <= self.workers_ready


class TorchServe:
    """One TorchServe. Make it inside a running event loop; `close` it there too."""

    def __init__(self, *, inference: str, management: str, max_message_bytes: int) -> None:
        """Connect lazily.

        Args:
            inference: host:port of the gRPC inference service.
            management: host:port of the gRPC management service.
            max_message_bytes: most bytes of one message, either way.
        """
        options = [
            NO_PROXY,
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.enable_retries", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name: how long one attempt to connect may take
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._channels = [grpc.aio.insecure_channel(address, options) for address in (inference, management)]
        self._inference = inference_pb2_grpc.InferenceAPIsServiceStub(self._channels[0])
        self._management = management_pb2_grpc.ManagementAPIsServiceStub(self._channels[1])

    @classmethod
    def from_settings(cls, settings: Settings) -> TorchServe:
        """Connect to the TorchServe that the settings name."""
        return cls(
            inference=settings.torchserve_inference,
            management=settings.torchserve_management,
            max_message_bytes=settings.max_message_bytes,
        )

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        for channel in self._channels:
            await channel.close()

    async def predict(self, backend_name: str, inputs: Mapping[str, bytes], *, timeout_s: float) -> bytes:
        """Send one request to a model and return its answer as it came.

        Raises:
            Unavailable: if the model is not loaded, has no ready worker or lost the one that had this request, or
                TorchServe does not answer: the same call may succeed later.
            ResourceExhausted: if the model's queue is full or its memory ran out.
            DeadlineExceeded: if timeout_s passes first.
            Internal: if the model's code failed or a message is too large: the same call fails again.
        """
        request = inference_pb2.PredictionsRequest(model_name=backend_name, input=inputs)
        try:
            answer = await self._inference.Predictions(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if has_no_worker(error):
                raise await self._overload(backend_name) from error
            raise prediction_error(error, backend_name) from error
        return bytes(answer.prediction)

    async def register(
        self,
        archive_file_name: str,
        backend_name: str,
        workers: int,
        *,
        startup_timeout_s: float,
        response_timeout_s: float,
    ) -> None:
        """Load an archive of the archive folder and return when all its workers have started; or leave nothing loaded.

        Requests go to the workers one by one. TorchServe gives a whole batch to one worker, and has a lone request wait
        for company even where the worker is idle. Measured with the digits on two cores, batches of eight: three times
        as fast where requests share a micro-batch, which is rare; no faster elsewhere; 2 ms of 5 more for a lone one.

        Args:
            archive_file_name: name of the .mar, without any folder.
            backend_name: name to load it under.
            workers: number of worker processes, at least 1.
            startup_timeout_s: longest time until a worker has loaded the model; rounded up to seconds.
            response_timeout_s: watchdog: a worker that is silent for longer is killed and started again; rounded up to
                seconds. No legal request may take that long.

        Raises:
            NotFound: if the archive folder has no such file.
            AlreadyExists: if the name is taken.
            FailedPrecondition: if the archive is unfit; the text says why. Or if no worker could start.
            Unavailable: if TorchServe or the model does not answer in time. A TorchServe that was merely slow may then
                still load it.
        """
        request = management_pb2.RegisterModelRequest(
            url=archive_file_name,
            model_name=backend_name,
            initial_workers=workers,
            synchronous=True,
            batch_size=1,
            max_batch_delay=1,
            startup_timeout=math.ceil(startup_timeout_s),
            response_timeout=math.ceil(response_timeout_s),
        )
        try:
            await self._management.RegisterModel(request, timeout=startup_timeout_s + MANAGEMENT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise await self._registration_error(error, archive_file_name, backend_name) from error
        try:
            await self._description(backend_name, timeout_s=response_timeout_s)
        except MintageError as error:
            with contextlib.suppress(MintageError):
                await self.unregister(backend_name)
            if isinstance(error, DeadlineExceeded):
                raise Unavailable(f"model {backend_name} loads, but does not answer") from None
            raise

    async def unregister(self, backend_name: str) -> None:
        """Unload a model and end its workers.

        Raises:
            NotFound: if it is not loaded.
            Unavailable: if TorchServe does not answer in time.
        """
        request = management_pb2.UnregisterModelRequest(model_name=backend_name)
        await self._manage("UnregisterModel", request, backend_name)

    async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
        """Give a model another number of workers, at least 1, and return when they have started.

        Raises:
            NotFound: if it is not loaded.
            FailedPrecondition: if the new workers could not start.
            Unavailable: if TorchServe does not answer in time.
        """
        request = management_pb2.ScaleWorkerRequest(
            model_name=backend_name, min_worker=workers, max_worker=workers, synchronous=True
        )
        await self._manage("ScaleWorker", request, backend_name, timeout_s=timeout_s)

    async def list_models(self) -> list[str]:
        """Return the names of all loaded models, sorted.

        Raises:
            Unavailable: if TorchServe does not answer in time.
        """
        names: list[str] = []
        page = 0
        while True:
            request = management_pb2.ListModelsRequest(limit=100, next_page_token=page)
            answer = _json(await self._manage("ListModels", request, "", timeout_s=MANAGEMENT_TIMEOUT_S))
            names += [str(model["modelName"]) for model in answer["models"]]
            page = int(answer.get("nextPageToken") or 0)
            if not page:
                return sorted(names)

    async def describe(self, backend_name: str) -> BackendStatus:
        """Return the state of a model's workers and queue.

        Raises:
            NotFound: if it is not loaded.
            Unavailable: if TorchServe does not answer in time.
        """
        request = management_pb2.DescribeModelRequest(model_name=backend_name)
        model = _json(await self._manage("DescribeModel", request, backend_name))[0]
        queue = model.get("jobQueueStatus") or {}
        return BackendStatus(
            workers_ready=sum(worker["status"] == "READY" for worker in model["workers"]),
            workers_total=len(model["workers"]),
            pending_requests=int(queue.get("pendingRequests", 0)),
            queue_left=int(queue.get("remainingCapacity", 0)),
        )

    async def wait_until_ready(self, backend_name: str, timeout_s: float) -> ModelDescription:
        """Wait until a model's workers are ready, then have one make a real forward pass.

        Returns: the model's own description.

        Raises:
            NotFound: if it is not loaded.
            FailedPrecondition: if its archive is unfit.
            Internal: if its forward pass is not sound.
            Unavailable: if it is not ready, or TorchServe does not answer, within timeout_s.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not (await self.describe(backend_name)).ready:
                    await asyncio.sleep(POLL_S)
                answer = await self.predict(backend_name, messages.canary_request(), timeout_s=timeout_s)
                messages.read_canary(answer)
                return await self._description(backend_name, timeout_s=timeout_s)
        except (TimeoutError, DeadlineExceeded):
            raise Unavailable(f"model {backend_name} was not ready within {timeout_s:g} s") from None

    async def _description(self, backend_name: str, *, timeout_s: float) -> ModelDescription:
        answer = await self.predict(backend_name, messages.describe_request(), timeout_s=timeout_s)
        return messages.read_description(answer)

    async def _manage(
        self, method: str, request: object, backend_name: str, *, timeout_s: float = MANAGEMENT_TIMEOUT_S
    ) -> str:
        """Make one management call and return its message."""
        try:
            answer = await getattr(self._management, method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise management_error(error, backend_name) from error
        return str(answer.msg)

    async def _overload(self, backend_name: str) -> MintageError:
        """Tell a full queue from a model without workers: TorchServe has one text for both."""
        try:
            status = await self.describe(backend_name)
        except MintageError as error:
            return Unavailable(f"model {backend_name} does not take requests now: {error.message}")
        if status.workers_ready:
            return ResourceExhausted(f"the queue of model {backend_name} is full")
        return Unavailable(f"model {backend_name} has no ready worker now", reason="NO_WORKER")

    async def _registration_error(
        self, error: grpc.aio.AioRpcError, archive_file_name: str, backend_name: str
    ) -> MintageError:
        """Tell what went wrong in a registration; a name that is taken answers UNKNOWN without a text."""
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return NotFound(f"the archive folder has no {archive_file_name}", reason="ARCHIVE_NOT_FOUND")
        if error.code() is grpc.StatusCode.UNKNOWN and backend_name in await self.list_models():
            return AlreadyExists(f"a model {backend_name} is already loaded")
        return management_error(error, backend_name)


def _json(text: str) -> Any:
    """Read a management message that should be JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise Internal("the model server's answer is no JSON", reason="MODEL_SERVER_DAMAGED") from None
