"""The service's side of drawing: formulas as the parts that a model takes, and what it answers.

`handlers.protocol.formulas` is the other side. A formula becomes parts that are made of earlier ones; equal parts are
sent once, so a model evaluates what the frames of a walk have in common once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from mintage.latents import Path, inside
from mintage.v1.latents_pb2 import Latent
from numpy.typing import NDArray

from service.backend.protocol.decoding import damaged, opened, tensor
from service.backend.protocol.messages import request_of

Directions = Mapping[str, tuple[float, ...]]  # the numbers of saved directions by their names
Part = tuple[object, ...]
Maps = Mapping[int, Sequence[int]]  # feature maps by layer, from 1


def draw_request(
    latents: Sequence[Latent],
    directions: Directions,
    *,
    class_index: int | None = None,
    class_sample: int | None = None,
    drop: Maps = MappingProxyType({}),
    keep: Maps = MappingProxyType({}),
) -> dict[str, bytes]:
    """Ask for the images of latents; `messages.read_images` reads the answer.

    Args:
        latents: At least one, all valid.
        directions: Those that the latents name.
        class_index: Class of all images; None: that of the first sample in each formula.
        class_sample: Index of the sample whose class all images have, if there is no `class_index`.
        drop: Feature maps of hidden layers, from 1, that are set to 0.
        keep: Feature maps of hidden layers, all but which are set to 0.
    """
    given = _classes(class_index, class_sample)
    masks = {"drop": drop, "keep": keep}
    lists = {name: [[layer, list(each)] for layer, each in maps.items()] for name, maps in masks.items() if maps}
    return request_of({"op": "draw", **written(latents, directions), **given, **lists})


def walk_request(
    path: Path, frames: range, directions: Directions, *, class_index: int | None, class_sample: int | None
) -> dict[str, bytes]:
    """Ask for frames of a walk: as `draw_request` for their formulas, without making those."""
    given = _classes(class_index, class_sample)
    return request_of({"op": "draw", **_written_walk(path, frames, directions), **given})


def evaluate_request(latents: Sequence[Latent], directions: Directions) -> dict[str, bytes]:
    """Ask for the numbers of latents."""
    return request_of({"op": "evaluate", **written(latents, directions)})


def read_numbers(answer: bytes, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Read the answer to `evaluate_request`.

    Args:
        answer: What the model returned.
        shape: The expected (latents, latent_size).

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged, of another shape, or says `error`.
    """
    _, tensors = opened(answer)
    found: NDArray[np.float64] = tensor(tensors, "latents", np.dtype(np.float64), shape)
    if not bool(np.isfinite(found).all()):
        raise damaged("latents holds a number that is not finite")
    return found


def written(latents: Sequence[Latent], directions: Directions) -> dict[str, object]:
    """Write formulas as the fields `parts` and `latents` of a request."""
    parts = _Parts(directions)
    numbers = [parts.add(latent) for latent in latents]
    return {"parts": list(parts.numbers), "latents": numbers}


def _classes(class_index: int | None, class_sample: int | None) -> dict[str, object]:
    classes = {"class": class_index, "class_sample": class_sample}
    return {name: value for name, value in classes.items() if value is not None}


def _written_walk(path: Path, frames: range, directions: Directions) -> dict[str, object]:
    """Write frames of a walk as `written` does their formulas."""
    parts, ends = _Parts(directions), dict[int, int]()
    latents = []
    for frame in frames:
        leg, step = divmod(frame, path.frames_per_leg)
        for end in (leg, leg + 1) if step else (leg,):
            if end not in ends:
                ends[end] = parts.add(path.through[end % len(path.through)])
        between = (path.function, ends[leg], ends.get(leg + 1), step / path.frames_per_leg)
        latents.append(parts.numbers.setdefault(between, len(parts.numbers)) if step else ends[leg])
    return {"parts": list(parts.numbers), "latents": latents}


@dataclass(frozen=True, slots=True)
class _Parts:
    """Parts in the order in which they can be computed, each with its number."""

    directions: Directions
    numbers: dict[Part, int] = field(default_factory=dict)

    def add(self, latent: Latent) -> int:
        """Add a formula with all that is inside it, unless it is there; returns its number."""
        part = self._part(latent, [self.add(inner) for inner in inside(latent)])
        return self.numbers.setdefault(part, len(self.numbers))

    def _part(self, latent: Latent, of: Sequence[int]) -> Part:
        kind: str = latent.WhichOneof("value") or ""
        details: tuple[object, ...] = ()
        match kind:
            case "sample":
                details = latent.sample.seed, latent.sample.index
            case "values" | "direction":
                numbers = latent.values.values if kind == "values" else self.directions[latent.direction]
                kind, details = "vector", (tuple(numbers),)
            case "mean":
                details = (tuple(of),)
            case "sum":
                details = tuple(term.weight for term in latent.sum.terms), tuple(of)
            case "lerp" | "slerp":
                details = *of, (latent.lerp if kind == "lerp" else latent.slerp).t
            case "jitter":
                details = *of, latent.jitter.seed, latent.jitter.half_width
            case "truncate":
                details = *of, latent.truncate.share
        return kind, *details
