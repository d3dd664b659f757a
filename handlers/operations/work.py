"""A request as work: rows that forward passes compute, alone or in company, and the answer that they become.

A request about 100 images is 100 rows. `handlers.serving` decides which rows of which requests a pass computes; what a
row is, and what its result means, is known here and in the modules of each kind of model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from handlers.errors import ModelError, NotFiniteError, RequestError
from handlers.protocol.requests import Answer, Failure

LOG = logging.getLogger("mintage.handlers")
T = TypeVar("T")
W = TypeVar("W")


class Work(Protocol):
    """One request.

    Attributes:
        passes: what computes its rows; requests with the same one may share passes.
        rows: how many there are.
        alone: the most rows of a pass that this work has to itself; 0 if it may share passes with other work.
    """

    @property
    def passes(self) -> Passes:
        """What computes its rows."""

    @property
    def rows(self) -> int:
        """How many there are, at least 1."""

    @property
    def alone(self) -> int:
        """The most rows of a pass that this work has to itself; 0 if it may share passes with other work."""

    def answer(self) -> Answer | Failure:
        """Make the answer, once every row is computed."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[W]):
    """Rows of one work that one pass computes."""

    work: W
    rows: range


class Passes(Protocol):
    """Computes rows of many requests in one forward pass."""

    @property
    def name(self) -> str:
        """The operation; passes of one name and size take about as long as each other."""

    def compute(self, pieces: Sequence[Piece[Any]], size: int) -> None:
        """Compute the pieces in their order in one pass of a size, and give each work its results."""


def attempt(function: Callable[[], T]) -> T | Failure:
    """Call a function, and turn an exception into a failure.

    An invalid request is answered with its error, and a request to an unfit archive with the reason. Anything
    unexpected is logged with its traceback, and answered only with the fact that the model failed.
    """
    try:
        return function()
    except RequestError as error:
        return Failure("invalid", str(error))
    except ModelError as error:
        return Failure("refused", str(error))
    except NotFiniteError as error:
        LOG.error("%s", error)
        return Failure("error", str(error))
    except Exception:
        LOG.exception("a request failed")
        return Failure("error", "the model failed on this request")


def places(pieces: Sequence[Piece[W]]) -> list[tuple[Piece[W], slice]]:
    """Return each piece with the rows of the pass that are its own."""
    found, start = [], 0
    for piece in pieces:
        found.append((piece, slice(start, start + len(piece.rows))))
        start += len(piece.rows)
    return found
