"""Formulas of latents on the wire: a list of parts, each made of earlier ones, and which of them are the latents.

Formulas that have a part in common share it, so it is computed once. `service.backend.protocol.drawing_messages` writes
them:

    ["sample", seed, index]  ["vector", [numbers]]  ["mean", [parts]]  ["sum", [weights], [parts]]
    ["lerp", part, part, t]  ["slerp", part, part, t]  ["jitter", part, seed, half width]  ["truncate", part, share]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.errors import RequestError

MAX_PARTS = 2**16  # of a request; the service sends far fewer
_SEEDS, _INDICES = 2**64, 2**63


@dataclass(frozen=True, slots=True)
class SampleLatent:
    """The latent of a sample."""

    seed: int
    index: int


@dataclass(frozen=True, slots=True)
class Vector:
    """Numbers as they are."""

    numbers: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of parts."""

    of: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """A weighted sum of parts."""

    weights: tuple[float, ...]
    of: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lerp:
    """A point on the line between two parts."""

    of: tuple[int, int]
    t: float


@dataclass(frozen=True, slots=True)
class Slerp:
    """A point on the arc between two parts."""

    of: tuple[int, int]
    t: float


@dataclass(frozen=True, slots=True)
class Jitter:
    """A part plus uniform noise."""

    of: tuple[int]
    seed: int
    half_width: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """A part moved towards the centre."""

    of: tuple[int]
    share: float


Part = SampleLatent | Vector | Mean | Sum | Lerp | Slerp | Jitter | Truncate


@dataclass(frozen=True, slots=True)
class Formulas:
    """Parts, each made of earlier ones, and the numbers of those that are the latents."""

    parts: tuple[Part, ...]
    latents: tuple[int, ...]


def read_formulas(request: Mapping[str, Any]) -> Formulas:
    """Read `parts` and `latents` of a request.

    Raises:
        RequestError: if one is malformed.
    """
    written, latents = request.get("parts"), request.get("latents")
    if not isinstance(written, list) or not 1 <= len(written) <= MAX_PARTS:
        raise RequestError(f"parts must be a list of 1 to {MAX_PARTS} parts")
    parts = tuple(_part(each, number) for number, each in enumerate(written))
    if not isinstance(latents, list) or not latents or not all(_is_whole(each, len(parts)) for each in latents):
        raise RequestError("latents must be a list of at least one number of a part")
    return Formulas(parts, tuple(latents))


def _part(written: Any, number: int) -> Part:
    """Read the part of a number."""
    found: Part | None = None
    match written:  # the frames of a walk first, of which there are most
        case ["slerp", start, end, t] if _are_parts([start, end], number) and _is_number(t):
            found = Slerp((start, end), float(t))
        case ["lerp", start, end, t] if _are_parts([start, end], number) and _is_number(t):
            found = Lerp((start, end), float(t))
        case ["sample", seed, index] if _is_whole(seed, _SEEDS) and _is_whole(index, _INDICES):
            found = SampleLatent(seed, index)
        case ["vector", [_, *_] as numbers] if all(map(_is_number, numbers)):
            found = Vector(tuple(map(float, numbers)))
        case ["mean", [_, *_] as of] if _are_parts(of, number):
            found = Mean(tuple(of))
        case ["sum", [_, *_] as weights, of] if all(map(_is_number, weights)) and _are_parts(of, number):
            found = Sum(tuple(map(float, weights)), tuple(of)) if len(weights) == len(of) else None
        case ["jitter", of, seed, width] if _are_parts([of], number) and _is_whole(seed, _SEEDS) and _is_number(width):
            found = Jitter((of,), seed, float(width))
        case ["truncate", of, share] if _are_parts([of], number) and _is_number(share):
            found = Truncate((of,), float(share))
    if found is None:
        raise RequestError(f"part {number} is malformed")
    return found


def _are_parts(of: Any, number: int) -> bool:
    """Whether these are numbers of parts before a number."""
    return isinstance(of, list) and all(_is_whole(each, number) for each in of)


def _is_whole(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
