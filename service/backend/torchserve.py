"""TorchServe over gRPC: it starts, scales and ends the worker processes of models; `workers` has what they are asked.

Every call has a deadline. Requests go to the processes' own sockets. TorchServe passes on only what it is asked while a
model is being registered, because the answer says why an archive is refused, and what other hosts ask: there it has no
sockets. `torchserve_errors` tells its failures apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

import grpc
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2

from service.addresses import NO_PROXY
from service.backend import liveness
from service.backend.liveness import WorkerHealth
from service.backend.model_server import is_silence
from service.backend.protocol import messages
from service.backend.protocol.description import ModelDescription
from service.backend.torchserve_answers import BackendStatus, read_names, read_status
from service.backend.torchserve_errors import management_error, prediction_error
from service.backend.torchserve_management import MANAGEMENT_TIMEOUT_S, Management
from service.backend.workers import Priority, Workers
from service.errors import AlreadyExists, DeadlineExceeded, MintageError, NotFound, Unavailable
from service.settings import Settings

POLL_S = 0.1  # between two looks at a model that starts, which takes seconds


class TorchServe:
    """One TorchServe. Make it inside a running event loop; `close` it there too."""

    def __init__(
        self, *, inference: str, management: str, sockets: Path, max_message_bytes: int, drain_limit_s: float = 60.0
    ) -> None:
        """Connect lazily.

        Args:
            inference: host:port of the gRPC inference service.
            management: host:port of the gRPC management service.
            sockets: folder of the worker processes' sockets.
            max_message_bytes: most bytes of one message, either way.
            drain_limit_s: longest time for which a model that is to be unloaded is waited for while it has calls.
        """
        self._workers = Workers(sockets, max_message_bytes=max_message_bytes)
        self._drain_limit_s = drain_limit_s
        options = [
            NO_PROXY,
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.keepalive_time_ms", 360_000),  # more often than every five minutes is an attack to TorchServe
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name: how long one attempt to connect may take
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._channels = [grpc.aio.insecure_channel(address, options) for address in (inference, management)]
        self._inference = inference_pb2_grpc.InferenceAPIsServiceStub(self._channels[0])
        self._management = Management(self._channels[1])

    @classmethod
    def from_settings(cls, settings: Settings) -> TorchServe:
        """Connect to the TorchServe that the settings name."""
        return cls(
            inference=settings.torchserve_inference,
            management=settings.torchserve_management,
            sockets=settings.sockets,
            max_message_bytes=settings.max_message_bytes,
            drain_limit_s=settings.max_deadline_s,
        )

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        for channel in self._channels:
            await channel.close()
        await self._workers.close()

    async def predict(
        self,
        backend_name: str,
        inputs: Mapping[str, bytes],
        *,
        timeout_s: float,
        client: str = "",
        priority: Priority = "interactive",
    ) -> bytes:
        """Send one request to a process of a model; see `Workers.predict`.

        From another host it goes through TorchServe, which hands a process one request after another.
        """
        if self._workers.here:
            return await self._workers.predict(
                backend_name, inputs, timeout_s=timeout_s, client=client, priority=priority
            )
        caller = {"class": priority.encode(), "client": client.encode()}
        return await self._passed_on(backend_name, {**inputs, **caller}, timeout_s=timeout_s)

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
            await self._management.attempt("RegisterModel", request, timeout_s=startup_timeout_s + MANAGEMENT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise await self._registration_error(error, archive_file_name, backend_name) from error
        try:
            await self._management.while_answering(self._description(backend_name, timeout_s=response_timeout_s))
        except MintageError as error:
            if not is_silence(error):
                with contextlib.suppress(MintageError):
                    await self.unregister(backend_name)
            if isinstance(error, DeadlineExceeded):
                text = f"model {backend_name} loads, but does not answer"
                raise Unavailable(text, reason="MODEL_SILENT") from None
            raise

    async def unregister(self, backend_name: str) -> None:
        """Unload a model and end its workers.

        Raises:
            NotFound: if it is not loaded.
            Unavailable: if TorchServe does not answer in time.
        """
        request = management_pb2.UnregisterModelRequest(model_name=backend_name)
        await self._management.call("UnregisterModel", request, backend_name)

    async def drain(self, backend_name: str) -> None:
        """Wait until nobody has calls at a model any more, or has had them for too long."""
        await self._workers.drain(backend_name, self._drain_limit_s)

    def proof_progress(self, backend_name: str) -> tuple[int, int] | None:
        """Say how many batch sizes a starting model has tried, and of how many; None if it tries none, or elsewhere."""
        return self._workers.proof_progress(backend_name)

    async def end_hung(self, backend_name: str) -> WorkerHealth:
        """End the processes of a model that hang; TorchServe starts others. From another host nothing is known."""
        return await liveness.end_hung(self._workers, backend_name)

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
        await self._management.call("ScaleWorker", request, backend_name, timeout_s=timeout_s)

    async def list_models(self) -> list[str]:
        """Return the names of all loaded models, sorted.

        Raises:
            Unavailable: if TorchServe does not answer in time.
        """
        names: list[str] = []
        page = 0
        while True:
            request = management_pb2.ListModelsRequest(limit=100, next_page_token=page)
            found, page = read_names(
                await self._management.call("ListModels", request, "", timeout_s=MANAGEMENT_TIMEOUT_S)
            )
            names += found
            if not page:
                return sorted(names)

    async def describe(self, backend_name: str) -> BackendStatus:
        """Return the state of a model's workers.

        Raises:
            NotFound: if it is not loaded.
            Unavailable: if TorchServe does not answer in time.
        """
        request = management_pb2.DescribeModelRequest(model_name=backend_name)
        return read_status(await self._management.call("DescribeModel", request, backend_name))

    async def is_starting(self, backend_name: str) -> bool:
        """Say whether a worker of a model starts, or starts again after a pause: TorchServe does not call it ready.

        Raises:
            NotFound: if it is not loaded.
            Unavailable: if TorchServe does not answer in time.
        """
        return (await self.describe(backend_name)).starting

    async def wait_until_ready(self, backend_name: str, timeout_s: float) -> ModelDescription:
        """Wait until a model's workers are ready and listen, then have each make a real forward pass.

        Returns: the model's own description.

        Raises:
            NotFound: if it is not loaded.
            FailedPrecondition: if its archive is unfit.
            Internal: if its forward pass is not sound.
            Unavailable: if it is not ready, or TorchServe does not answer, within timeout_s.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._management.while_answering(self._ready(backend_name, timeout_s=timeout_s))
        except (TimeoutError, DeadlineExceeded):
            raise Unavailable(f"model {backend_name} was not ready within {timeout_s:g} s") from None

    async def _ready(self, backend_name: str, *, timeout_s: float) -> ModelDescription:
        """Wait for a model's workers, and have each make a forward pass; a single call takes `timeout_s` at most."""
        workers = await self._workers_ready(backend_name)
        try:
            description = await self._description(backend_name, timeout_s=timeout_s)
        except Unavailable:  # one that was killed just before looks ready until it is asked
            workers = await self._workers_ready(backend_name)
            description = await self._description(backend_name, timeout_s=timeout_s)
        while not await self._all_compute(backend_name, workers, timeout_s=timeout_s):
            await asyncio.sleep(POLL_S)
        return description

    async def _workers_ready(self, backend_name: str) -> int:
        """Wait until TorchServe calls every worker of a model ready, and return how many there are."""
        while not (status := await self.describe(backend_name)).ready:
            await asyncio.sleep(POLL_S)
        return status.workers_total

    async def _all_compute(self, backend_name: str, workers: int, *, timeout_s: float) -> bool:
        """Say whether so many processes of a model make a sound forward pass."""
        request = messages.canary_request()
        if not self._workers.here:
            messages.read_canary(await self._passed_on(backend_name, request, timeout_s=timeout_s))
            return True
        answers = await self._workers.answering(backend_name, request, timeout_s=timeout_s)
        for answer in answers:
            messages.read_canary(answer)
        return len(answers) >= workers

    async def _description(self, backend_name: str, *, timeout_s: float) -> ModelDescription:
        """Ask a model through TorchServe, which is the way to one that was refused, what it is."""
        answer = await self._passed_on(backend_name, messages.describe_request(), timeout_s=timeout_s)
        return messages.read_description(answer)

    async def _passed_on(self, backend_name: str, inputs: Mapping[str, bytes], *, timeout_s: float) -> bytes:
        """Have TorchServe pass a request on; it hears of no cancel."""
        request = inference_pb2.PredictionsRequest(model_name=backend_name, input=inputs)
        try:
            answer = await self._inference.Predictions(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise prediction_error(error, backend_name) from error
        return bytes(answer.prediction)

    async def _registration_error(
        self, error: grpc.aio.AioRpcError, archive_file_name: str, backend_name: str
    ) -> MintageError:
        """Tell what went wrong in a registration; a name that is taken answers UNKNOWN without a text."""
        if error.code() is grpc.StatusCode.NOT_FOUND:
            text = f"the model server finds no {archive_file_name}: is MINTAGE_ARCHIVE_DIR its folder and the API's?"
            return NotFound(text, reason="ARCHIVE_NOT_FOUND")
        taken = error.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED)
        if taken and backend_name in await self.list_models():
            return AlreadyExists(f"a model {backend_name} is already loaded")
        return management_error(error, backend_name)
