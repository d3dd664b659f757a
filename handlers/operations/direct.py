"""Answers requests at once, in this thread and without a queue: for programs that compute on their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.compute.model import Model
from handlers.operations.sampler import Sampler
from handlers.operations.work import Passes, Piece, Work, attempt
from handlers.protocol.requests import Answer, Failure, Generate, Request

MAX_BYTES = 2**62  # of an answer: nothing is sent


class Operations(Protocol):
    """What a kind of model can be asked."""

    @property
    def model(self) -> Model:
        """The model."""

    def check(self, request: Request) -> Request:
        """Return a valid request, or raise HandlerError."""

    def begin(self, request: Request) -> Work | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""


def answers(operations: Operations, requests: Sequence[Request]) -> list[Answer | Failure]:
    """Answer requests, which share passes where they may."""
    begun = [attempt(functools.partial(_begun, operations, request)) for request in requests]
    works = [each for each in begun if not isinstance(each, Answer | Failure)]
    failed: dict[Work, Failure] = {}
    for passes, pieces, size in _passes(operations.model, works):
        failure = attempt(functools.partial(passes.compute, pieces, size))
        if isinstance(failure, Failure):
            failed |= {piece.work: failure for piece in pieces}
    return [each if isinstance(each, Answer | Failure) else _answer(each, failed) for each in begun]


def generate(model: Model, requests: Sequence[Generate]) -> list[NDArray[np.uint8] | Failure]:
    """Return the images uint8 [count, H, W, C] of each request, or why there are none."""
    found = answers(Sampler(model, MAX_BYTES), requests)
    return [each.tensors["images"] if isinstance(each, Answer) else each for each in found]


def _begun(operations: Operations, request: Request) -> Work | Answer:
    return operations.begin(operations.check(request))


def _answer(work: Work, failed: Mapping[Work, Failure]) -> Answer | Failure:
    return failed[work] if work in failed else attempt(work.answer)


def _passes(model: Model, works: Sequence[Work]) -> Iterator[tuple[Passes, list[Piece[Work]], int]]:
    """Cut works into passes: those that may share them in their order, then each of the others by itself."""
    shared: dict[Passes, list[Work]] = {}
    for work in works:
        if not work.alone:
            shared.setdefault(work.passes, []).append(work)
    for passes, group in shared.items():
        rows = [(work, row) for work in group for row in range(work.rows)]
        for chosen, size in model.sizes.passes(len(rows)):
            yield passes, _pieces(rows[chosen.start : chosen.stop]), size
    for work in works:
        for first in range(0, work.rows, work.alone) if work.alone else ():
            yield work.passes, [Piece(work, range(first, min(first + work.alone, work.rows)))], work.alone


def _pieces(rows: Sequence[tuple[Work, int]]) -> list[Piece[Work]]:
    """Join neighbouring rows of a work."""
    pieces: list[Piece[Work]] = []
    for work, row in rows:
        if pieces and pieces[-1].work is work:
            pieces[-1] = Piece(work, range(pieces[-1].rows.start, row + 1))
        else:
            pieces.append(Piece(work, range(row, row + 1)))
    return pieces
