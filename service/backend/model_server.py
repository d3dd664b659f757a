"""What API and workers need of a model server: the seam that tests fake. `torchserve.TorchServe` is the real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service.backend.liveness import WorkerHealth
from service.backend.protocol.description import ModelDescription
from service.backend.workers import Priority
from service.errors import Unavailable

_SILENT = "MODEL_SERVER_UNAVAILABLE"


class Predictor(Protocol):
    """What a worker needs of a model server: answers to requests."""

    async def predict(
        self,
        backend_name: str,
        inputs: Mapping[str, bytes],
        *,
        timeout_s: float,
        client: str = "",
        priority: Priority = "interactive",
    ) -> bytes:
        """Send one request to a model in its client's turn, and return its answer as it came."""
        ...


class ModelServer(Predictor, Protocol):
    """Holds models under backend names and answers for them; its methods raise the errors of `service.errors`."""

    async def register(
        self,
        archive_file_name: str,
        backend_name: str,
        workers: int,
        *,
        startup_timeout_s: float,
        response_timeout_s: float,
    ) -> None:
        """Load an archive, or leave nothing loaded."""
        ...

    async def unregister(self, backend_name: str) -> None:
        """Unload a model."""
        ...

    async def drain(self, backend_name: str) -> None:
        """Wait until nobody has calls at a model any more, or has had them for too long."""
        ...

    def proof_progress(self, backend_name: str) -> tuple[int, int] | None:
        """Say how many batch sizes a starting model has tried, and of how many; None if it tries none now."""
        ...

    async def end_hung(self, backend_name: str) -> WorkerHealth:
        """End the processes of a model that hang."""
        ...

    async def is_starting(self, backend_name: str) -> bool:
        """Say whether it is starting a worker of a model, or is about to start it again."""
        ...

    async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
        """Give a model another number of workers."""
        ...

    async def list_models(self) -> list[str]:
        """Return the names of all loaded models."""
        ...

    async def wait_until_ready(self, backend_name: str, timeout_s: float) -> ModelDescription:
        """Have a model make a real forward pass and say what it is."""
        ...


def silence() -> Unavailable:
    """Return the error of a model server that is not there, or does not answer."""
    return Unavailable("the model server does not answer", reason=_SILENT)


def is_silence(error: BaseException) -> bool:
    """Whether it is the error of a model server that does not answer."""
    return isinstance(error, Unavailable) and error.reason == _SILENT
