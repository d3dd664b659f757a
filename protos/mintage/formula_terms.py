"""The words of a formula, and the numbers and latents that they are read as; `formulas` reads them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from mintage.errors import InputError
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Latent

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[a-z][a-z0-9_-]*)|(?P<sign>[-#()\[\],+*/:])", re.ASCII
)
_SPACE = re.compile(r"\s*")


class FormulaError(InputError):
    """Raised when the text of a formula is wrong; `column` is where, from 1."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class Number:
    """A number and where it was written."""

    column: int
    value: float


@dataclass(frozen=True, slots=True)
class Vector:
    """A latent, perhaps with a weight that a sum around it may take over."""

    column: int
    body: Latent
    weight: float | None = None

    @property
    def latent(self) -> Latent:
        """The latent, weight included."""
        return self.body if self.weight is None else Latent(sum=latents_pb2.LatentSum(terms=[self.term(1)]))

    def term(self, sign: int) -> latents_pb2.LatentSum.Term:
        """The latent as a term of a sum."""
        return latents_pb2.LatentSum.Term(weight=sign * self.factor, latent=self.body)

    @property
    def factor(self) -> float:
        """The weight, 1 without one."""
        return 1.0 if self.weight is None else self.weight


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign: where it stands, from 1, its kind, and its text, which is empty at the end."""

    column: int
    kind: str
    text: str

    @property
    def shown(self) -> str:
        """How an error names it."""
        return f"'{self.text}'" if self.text else "the end"


def tokens_of(text: str) -> list[Token]:
    """Cut a text into tokens; the last ones, with no text, stand for its end."""
    tokens, at = [], 0
    while (at := _space_end(text, at)) < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaError(at + 1, f"{text[at]!r} has no meaning here")
        tokens.append(Token(at + 1, match.lastgroup or "", match[0]))
        at = match.end()
    return [*tokens, *[Token(len(text) + 1, "end", "")] * 3]


def _space_end(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def fail(where: Token | Number | Vector, message: str) -> NoReturn:
    """Say what is wrong at a place."""
    raise FormulaError(where.column, message)


def number(column: int, value: float) -> Number:
    """Return a number, which must be finite."""
    if not math.isfinite(value):
        raise FormulaError(column, "the number is too large")
    return Number(column, value)


def product(left: Number | Vector, right: Number | Vector) -> Number | Vector:
    """Multiply two factors, of which one is a number at least."""
    if isinstance(left, Vector) and isinstance(right, Vector):
        fail(right, "two latents cannot be multiplied: one of them must be a number")
    if isinstance(left, Vector):
        assert isinstance(right, Number)  # noqa: S101 - the other case was above
        return Vector(left.column, left.body, number(right.column, left.factor * right.value).value)
    if isinstance(right, Vector):
        return Vector(left.column, right.body, number(left.column, left.value * right.factor).value)
    return number(left.column, left.value * right.value)


def quotient(left: Number | Vector, right: Number | Vector) -> Number | Vector:
    """Divide by a number."""
    if isinstance(right, Vector):
        fail(right, "nothing can be divided by a latent")
    if not right.value:
        fail(right, "division by zero")
    if isinstance(left, Number):
        return number(right.column, left.value / right.value)
    return Vector(left.column, left.body, number(right.column, left.factor / right.value).value)
