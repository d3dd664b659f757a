"""A model's worker processes, called directly by their sockets; `handlers.serving.server` is the other side.

TorchServe starts the processes, but its queue counts requests and hears of no cancel. So each process has a small
server of its own on a unix socket `{folder}/{digest of the model's name}.{process id}`, and one queue in front of its
network that all callers share. A call goes to the process that has the fewest of ours. All that a model is asked may
be asked again: if a process is lost with a call, another one gets it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import structlog

from service.backend.channel import CallFailedError, Channel
from service.errors import DeadlineExceeded, Internal, MintageError, ResourceExhausted, Unavailable

Priority = Literal["interactive", "bulk"]

CLASS_KEY, CLIENT_KEY, RETRY_KEY = "mintage-class", "mintage-client", "mintage-retry-after-s"
PROGRESS_FOLDER = "progress"  # beside the sockets: how far the proof of a model that starts is, `3/11`
NAME_DIGITS = 12  # of the sha256 of a model's name, by which its sockets are called
MAX_LOSSES = 2  # processes that one call may lose: more often it is the call that ends them
SETTLED_S = 0.1  # after its last change a folder's time tells that it has not changed again
STATE_TIMEOUT_S = 1.0  # of a process that is asked how much it has to do: it answers at once, or not at all
QUIET_S = 0.5  # without a call, after which nobody is about to make one: longer than a caller's pause between two
POLL_S = 0.05  # between two looks at what is drained

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Worker:
    """One process: its socket and the connection to it."""

    path: Path
    inode: int
    channel: Channel
    calls: int = 0
    answered: bool = False
    lost: bool = False
    silences: int = 0  # in a row, of a process that was asked for its state
    long_pass: float = 0  # number of the pass that had lasted too long


class Workers:
    """The processes of all models below one folder. Make it inside a running event loop; `close` it there too."""

    def __init__(self, folder: Path, *, max_message_bytes: int) -> None:
        """Connect lazily.

        Args:
            folder: where the sockets are.
            max_message_bytes: most bytes of one message, either way.
        """
        self._folder = folder
        self._folder_name = os.fspath(folder)
        self._max_message_bytes = max_message_bytes
        self._listed_at: tuple[int, int] | None = None
        self._sockets: dict[str, list[tuple[Path, int]]] = {}
        self._workers: dict[tuple[Path, int], Worker] = {}
        self._found: dict[str, list[Worker]] = {}  # by model, since the folder was listed
        self._closing: set[asyncio.Future[None]] = set()

    @property
    def here(self) -> bool:
        """Whether TorchServe runs on this host, or ever did: the folder is there."""
        return bool(self._sockets) or self._folder.is_dir()

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        for worker in self._workers.values():
            await worker.channel.close()

    async def predict(
        self,
        backend_name: str,
        inputs: Mapping[str, bytes],
        *,
        timeout_s: float,
        client: str = "",
        priority: Priority = "interactive",
    ) -> bytes:
        """Send one request to a model and return its answer as it came; a cancelled call is dropped there too.

        Args:
            backend_name: the model.
            inputs: the request, by the names of TorchServe's map of inputs.
            timeout_s: longest time until the answer, in which it may wait for others.
            client: whose turn the request takes.
            priority: bulk requests wait for interactive ones.

        Raises:
            Unavailable: if the model has no process, or lost the one that had this request.
            ResourceExhausted: if too much waits for it.
            DeadlineExceeded: if timeout_s passes first.
            Internal: if a message is too large.
        """
        message, metadata = _message(inputs), {CLASS_KEY: priority, CLIENT_KEY: client}
        deadline, losses, tried = time.monotonic() + timeout_s, 0, set[Worker]()
        while losses < MAX_LOSSES and (worker := self._idlest(backend_name, tried)) is not None:
            tried.add(worker)
            try:
                return await self._call(worker, message, metadata, timeout_s=max(0.0, deadline - time.monotonic()))
            except CallFailedError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE:
                    raise _error(error, backend_name) from error
                losses += worker.answered
                worker.lost = True
        if losses:
            raise Unavailable(f"a worker of model {backend_name} died with this request", reason="WORKER_DIED")
        raise Unavailable(f"model {backend_name} has no ready worker now", reason="NO_WORKER")

    async def answering(self, backend_name: str, inputs: Mapping[str, bytes], *, timeout_s: float) -> list[bytes]:
        """Send a request to every process of a model, and return the answers of those that are there.

        Raises:
            DeadlineExceeded: if one does not answer within timeout_s.
            ResourceExhausted, Internal: as `predict`.
        """
        message, metadata = _message(inputs), {CLASS_KEY: "interactive", CLIENT_KEY: ""}
        calls = (self._call(each, message, metadata, timeout_s=timeout_s) for each in self.of(backend_name))
        found = await asyncio.gather(*calls, return_exceptions=True)
        for each in found:
            if isinstance(each, CallFailedError) and each.code is not grpc.StatusCode.UNAVAILABLE:
                raise _error(each, backend_name) from each
        return [each for each in found if isinstance(each, bytes)]

    async def drain(self, backend_name: str, limit_s: float) -> bool:
        """Wait until no call is at a model and none has come for a moment; returns whether that came true in time.

        Processes that do not say how much they have to do count as done.
        """
        end = time.monotonic() + limit_s
        while True:
            states = await asyncio.gather(*(_state(worker) for worker in self.of(backend_name)))
            if all(state is None or state.get("quiet_s", 0) >= QUIET_S for state in states):
                return True
            if time.monotonic() >= end:
                log.warning("a model is unloaded while it is used", backend=backend_name, waited_s=limit_s)
                return False
            await asyncio.sleep(POLL_S)

    def proof_progress(self, backend_name: str) -> tuple[int, int] | None:
        """Say how many batch sizes a starting model has tried, and of how many; None if it tries none now."""
        try:
            text = (self._folder / PROGRESS_FOLDER / _prefix(backend_name)).read_text(encoding="ascii")
            tried, _, total = text.partition("/")
            return int(tried), int(total)
        except (OSError, ValueError):
            return None

    async def _call(self, worker: Worker, message: bytes, metadata: Mapping[str, str], *, timeout_s: float) -> bytes:
        worker.calls += 1
        try:
            answer = await worker.channel.call("Predict", message, timeout_s=timeout_s, metadata=metadata)
        finally:
            worker.calls -= 1
        worker.answered, worker.lost = True, False
        return answer

    def _idlest(self, backend_name: str, tried: set[Worker]) -> Worker | None:
        """Choose a process with the fewest of our calls; one that was lost only if there is no other."""
        left = [worker for worker in self.of(backend_name) if worker not in tried]
        return min(left, key=lambda worker: (worker.lost, worker.calls), default=None)

    def of(self, backend_name: str) -> list[Worker]:
        """Return the processes of a model whose sockets are there now."""
        self._list()
        if backend_name in self._found:
            return self._found[backend_name]
        found = []
        for path, inode in self._sockets.get(_prefix(backend_name), ()):
            worker = self._workers.get((path, inode))
            if worker is None:
                channel = Channel(path, max_message_bytes=self._max_message_bytes)
                worker = self._workers[path, inode] = Worker(path, inode, channel)
            found.append(worker)
        self._found[backend_name] = found
        return found

    def _list(self) -> None:
        """List the folder, unless it is as it was."""
        try:
            changed = os.stat(self._folder_name)  # noqa: PTH116 - a Path would take twice as long, at every call
        except FileNotFoundError:
            self._sockets, self._found = {}, {}
            return
        version = (changed.st_ino, changed.st_mtime_ns)
        if version == self._listed_at:
            return
        self._sockets, self._found = {}, {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.partition(".")[0]
                self._sockets.setdefault(name, []).append((Path(entry.path), entry.inode()))
        self._forget()
        self._listed_at = version if time.time() - changed.st_mtime > SETTLED_S else None

    def _forget(self) -> None:
        """Forget the processes whose sockets are gone and that have no call of ours, and close the connections."""
        present = {socket for sockets in self._sockets.values() for socket in sockets}
        gone = [key for key, worker in self._workers.items() if key not in present and not worker.calls]
        for key in gone:
            closing = asyncio.ensure_future(self._workers.pop(key).channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


def socket_name(backend_name: str, pid: int) -> str:
    """Return the file name of a process's socket; it is short because paths of sockets are."""
    return f"{_prefix(backend_name)}.{pid}"


@functools.lru_cache(maxsize=256)
def _prefix(backend_name: str) -> str:
    return hashlib.sha256(backend_name.encode()).hexdigest()[:NAME_DIGITS]


def _message(inputs: Mapping[str, bytes]) -> bytes:
    """Join a request into one message: the length of `request`, `request`, `pixels`."""
    request = inputs["request"]
    return b"".join((struct.pack("<I", len(request)), request, inputs.get("pixels", b"")))


async def _state(worker: Worker) -> dict[str, Any] | None:
    """Ask a process how much it has to do; None if it does not say."""
    try:
        state: dict[str, Any] = json.loads(await worker.channel.call("State", b"", timeout_s=STATE_TIMEOUT_S))
    except (CallFailedError, ValueError):
        return None
    return state


def _error(error: CallFailedError, backend_name: str) -> MintageError:
    """Translate what a call to a process ended with."""
    code = error.code
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"model {backend_name} did not answer in time")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        advice = error.metadata.get(RETRY_KEY)
        if advice is None:
            return Internal(f"a message of model {backend_name} is too large", reason="MESSAGE_TOO_LARGE")
        return ResourceExhausted(
            f"too much waits for model {backend_name}; try again later", retry_after_s=float(advice)
        )
    return Internal(f"model {backend_name} failed", reason="MODEL_FAILED")
