"""Starts a handler: process settings, loading the archive, and refusing an unfit one."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from handlers.compute import device, environment
from handlers.compute.model import WEIGHTS_FILE, Model, load
from handlers.compute.proofs import with_proven_sizes
from handlers.errors import ModelError
from handlers.protocol.messages import Answer, Failure, Request
from training.recipes import Kind

LOG = logging.getLogger("mintage.handlers")
MESSAGE_BYTES = 6_553_500  # TorchServe's default for the size of a response


class Server(Protocol):
    """The interface of what answers for a kind of model."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""

    @property
    def facts(self) -> Mapping[str, object]:
        """The facts in every answer's header."""

    def check(self, request: Request) -> Request:
        """Return a valid request, or raise HandlerError."""

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every request that has not failed yet."""


class Refusal:
    """Takes the place of an unfit archive and answers every request with the reason.

    TorchServe would restart a worker that fails to load again and again, and lose the reason. So the worker keeps
    running, and the service that registered the archive reads the reason and unloads it.
    """

    def __init__(self, error: ModelError) -> None:
        self.error = error
        self.facts: Mapping[str, object] = {}

    def check(self, request: Request) -> Request:
        """Raise the ModelError."""
        raise self.error

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Return the failures that `check` raised for all requests."""
        return [request for request in requests if isinstance(request, Failure)]


def serve(properties: Mapping[str, Any], kind: Kind, server: type[Server]) -> Server:
    """Load the archive that TorchServe has unpacked.

    Args:
        properties: TorchServe's system properties: `model_dir`, and `gpu_id`, which is None on a CPU.
        kind: of model that the handler serves.
        server: what answers for that kind.
    """
    logging.getLogger().setLevel(logging.WARNING)  # TorchServe's worker logs every request at INFO
    device.make_deterministic()
    try:
        environment.check()
        folder = Path(properties["model_dir"])
        model = load(folder, kind, device.choose(properties.get("gpu_id")))
    except ModelError as error:
        LOG.error("the archive is refused: %s", error)
        return Refusal(error)
    model = with_proven_sizes(model, _sha256(folder / WEIGHTS_FILE), _proofs())
    return server(model, int(os.environ.get("MINTAGE_WORKER_MESSAGE_BYTES", MESSAGE_BYTES)))


def _proofs() -> Path | None:
    """Where proofs of batch sizes are kept; None if they are not."""
    folder = os.environ.get("MINTAGE_WORKER_PROOFS", "")
    return Path(folder) if folder else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
