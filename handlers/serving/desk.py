"""Where requests to a model come in, by a socket or by TorchServe, and where their answers are written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from handlers.operations.work import Work, attempt
from handlers.protocol import messages
from handlers.protocol.messages import Item
from handlers.protocol.requests import Answer, Failure, Request
from handlers.serving.batcher import Batcher
from handlers.serving.queue import Entry, QueueFullError


class Operations(Protocol):
    """What a kind of model can be asked."""

    @property
    def facts(self) -> Mapping[str, object]:
        """The facts in every answer's header."""

    def check(self, request: Request) -> Request:
        """Return a valid request, or raise HandlerError."""

    def begin(self, request: Request) -> Work | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a client in whose turn the work is done, whether it is bulk work, and when it is of no use any more."""

    client: str = ""
    bulk: bool = False
    deadline: float = math.inf  # on the monotonic clock


class Desk:
    """Takes requests to one model.

    Args:
        operations: What the model can be asked.
        batcher: What computes; None for a model that was refused.
    """

    def __init__(self, operations: Operations, batcher: Batcher | None) -> None:
        self._operations = operations
        self._batcher = batcher

    def read(self, item: Item) -> Request | Failure:
        """Read and check a request."""
        return attempt(lambda: self._operations.check(messages.read_request(item)))

    def begin(self, request: Request | Failure, caller: Caller, done: Callable[[Entry], None]) -> Entry | bytes:
        """Have a request computed; returns its answer at once if there is nothing to compute.

        Args:
            request: As it was read.
            caller: Who asks.
            done: Called in another thread when the work has ended; then `answer` has the answer.

        Raises:
            QueueFullError: if too much work waits already.
        """
        begun = request if isinstance(request, Failure) else attempt(lambda: self._operations.begin(request))
        if isinstance(begun, Answer | Failure):
            return messages.write_answer(begun, self._operations.facts)
        entry = Entry(begun, caller.client, caller.bulk, caller.deadline, messages.size_of(request), done)
        assert self._batcher is not None  # noqa: S101 - a refused model begins no work
        self._batcher.add(entry)
        return entry

    def cancel(self, entry: Entry) -> None:
        """Drop work whose caller has left."""
        if self._batcher is not None:
            self._batcher.cancel(entry)

    def answer(self, entry: Entry) -> bytes:
        """Write the answer of work that is `computed` or has `failed`."""
        failed = Failure("error", "the model failed on this request")
        outcome = attempt(entry.work.answer) if entry.outcome == "computed" else failed
        return messages.write_answer(outcome, self._facts)

    def ask(self, item: Item) -> bytes:
        """Answer a request that names its caller itself, and wait for it."""
        ended = threading.Event()
        caller = Caller(bytes(item.get("client", b"")).decode(errors="replace"), item.get("class") == b"bulk")
        try:
            begun = self.begin(self.read(item), caller, lambda _: ended.set())
        except QueueFullError as error:
            return messages.write_answer(Failure("error", str(error)), self._facts)
        if isinstance(begun, bytes):
            return begun
        ended.wait()
        return self.answer(begun)

    def waiting(self) -> dict[str, int]:
        """Return the rows that wait, by class."""
        return self._batcher.waiting() if self._batcher is not None else {}

    def progress(self) -> dict[str, float]:
        """Return what is known of the pass that is being computed; see `Batcher.progress`."""
        return self._batcher.progress() if self._batcher is not None else {}

    @property
    def _facts(self) -> Mapping[str, object]:
        """What every answer's header says; `withdrawn` only if there are such sizes."""
        withdrawn = self._batcher.withdrawn if self._batcher is not None else []
        return {**self._operations.facts, "withdrawn": withdrawn} if withdrawn else self._operations.facts


def seconds_from_now(seconds: float | None) -> float:
    """Return the moment of the monotonic clock so many seconds from now; None is never."""
    return math.inf if seconds is None else time.monotonic() + seconds
