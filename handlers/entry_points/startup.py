"""Starts a handler: process settings, loading the archive, refusing an unfit one, listening on the socket."""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from handlers.compute import device, environment
from handlers.compute.lanes import lanes_of
from handlers.compute.model import WEIGHTS_FILE, Model, load
from handlers.compute.proofs import with_proven_sizes, withdraw
from handlers.compute.rechecks import Rechecks
from handlers.errors import ModelError
from handlers.protocol.requests import Answer, Canary, Request
from handlers.serving.batcher import Batcher
from handlers.serving.desk import Desk, Operations
from handlers.serving.server import WorkerServer, remove_stale
from training.recipes import Kind

LOG = logging.getLogger("mintage.handlers")
MESSAGE_BYTES = 6_553_500  # TorchServe's default for the size of a response
QUEUE_ROWS = 16_384  # of a class that may wait, where the service does not say
QUEUE_MESSAGES = 4  # of the largest size: what waiting requests of a class may hold in memory together
PROGRESS_FOLDER = "progress"  # beside the sockets: how far the proof of a model that starts is, `3/11`
NAME_DIGITS = 12  # of the sha256 of a model's name, by which its sockets are called: paths of sockets are short


class ModelOperations(Operations, Protocol):
    """The operations of a kind of model."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""


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

    def begin(self, request: Request) -> Answer:
        """Raise the ModelError."""
        raise self.error


def serve(properties: Mapping[str, Any], name: str, kind: Kind, operations: type[ModelOperations]) -> Desk:
    """Load the archive that TorchServe has unpacked, and listen on a socket if the environment names a folder for it.

    Args:
        properties: TorchServe's system properties: `model_dir`, and `gpu_id`, which is None on a CPU.
        name: that TorchServe holds the model under.
        kind: of model that the handler serves.
        operations: what answers for that kind.
    """
    logging.getLogger().setLevel(logging.WARNING)  # TorchServe's worker logs every request at INFO
    device.make_deterministic()
    try:
        environment.check()
        folder = Path(properties["model_dir"])
        model = load(folder, kind, device.choose(properties.get("gpu_id")))
    except ModelError as error:
        LOG.error("the archive is refused: %s", error)
        return Desk(Refusal(error), None)
    sha256, proofs = _sha256(folder / WEIGHTS_FILE), _folder("MINTAGE_WORKER_PROOFS")
    sockets, prefix = _folder("MINTAGE_WORKER_SOCKETS"), hashlib.sha256(name.encode()).hexdigest()[:NAME_DIGITS]
    with _progress(sockets, prefix) as told:
        model = with_proven_sizes(model, sha256, proofs, told)
    rechecks = Rechecks(model, lambda sizes: withdraw(model, sha256, proofs, sizes))
    max_bytes = int(os.environ.get("MINTAGE_WORKER_MESSAGE_BYTES", MESSAGE_BYTES))
    answering = operations(model, max_bytes)
    batcher = Batcher(
        model.sizes.proven,
        max_rows=int(os.environ.get("MINTAGE_WORKER_QUEUE_IMAGES", QUEUE_ROWS)),
        max_bytes=QUEUE_MESSAGES * max_bytes,
        works=lambda: device.works(model.device),
        recheck=lambda: rechecks.recheck().proven,
        lanes=lanes_of(model.device),
        begin=device.use_one_thread,
    )
    batcher.warm_up(lambda: _canary(answering))
    _settle()
    batcher.start()
    atexit.register(batcher.close)  # a thread that Python abandons inside torch would abort the process
    desk = Desk(answering, batcher)
    if sockets:
        remove_stale(sockets, prefix)
        server = WorkerServer(desk, sockets / f"{prefix}.{os.getpid()}", max_message_bytes=max_bytes)
        server.start()
        atexit.register(server.close)
    return desk


@contextlib.contextmanager
def _progress(sockets: Path | None, prefix: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what writes down how many batch sizes were tried, for the service to read; nothing is left afterwards."""
    if sockets is None:
        yield lambda *_: None
        return
    path = sockets / PROGRESS_FOLDER / prefix

    def tell(tried: int, total: int) -> None:
        with contextlib.suppress(OSError):  # a full disk keeps no model from starting
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{tried}/{total}", encoding="ascii")

    try:
        yield tell
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _settle() -> None:
    """Leave all objects that are loaded out of Python's search for cycles, which takes 100 ms with them (AMD EPYC)."""
    gc.collect()
    gc.freeze()


def _canary(operations: Operations) -> Any:
    return operations.begin(Canary())


def _folder(variable: str) -> Path | None:
    """A folder that the environment names; None if it names none."""
    folder = os.environ.get(variable, "")
    return Path(folder) if folder else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
