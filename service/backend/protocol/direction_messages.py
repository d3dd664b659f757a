"""The part of the protocol that finds directions and inverts images: requests, and what answers mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.backend.protocol.decoding import damaged, numbers, opened, tensor
from service.backend.protocol.messages import request_of


@dataclass(frozen=True, slots=True)
class WeightDirections:
    """Directions float64 [n, Z], the most effective first, and the strength of each, float64 [n]."""

    values: NDArray[np.float64]
    strengths: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Search:
    """Where the starts of an inversion are, and the best that they have met since they were asked about.

    Attributes:
        state: float32 [3, S, Z], what the next request carries.
        latents: float32 [S, Z], the best latents.
        losses: float32 [S], their losses.
    """

    state: NDArray[np.float32]
    latents: NDArray[np.float32]
    losses: NDArray[np.float32]


def weight_directions_request(count: int) -> dict[str, bytes]:
    """Ask a generator for the directions that change its first layer's outputs most."""
    return request_of({"op": "weight_directions", "count": count})


def read_weight_directions(answer: bytes, shape: tuple[int, int]) -> WeightDirections:
    """Read the answer to `weight_directions_request`; the shape is (count, latent size).

    Raises:
        Internal: if the answer is damaged, of another shape, or says `error`.
    """
    _, tensors = opened(answer)
    values = tensor(tensors, "vectors", np.dtype(np.float64), shape)
    strengths = tensor(tensors, "strengths", np.dtype(np.float64), shape[:1])
    if not (np.isfinite(values).all() and np.isfinite(strengths).all()):
        raise damaged("a direction has a number that is not finite")
    return WeightDirections(values, strengths)


def begin_search_request(
    image: NDArray[np.uint8], *, seed: int, first_start: int, starts: int, class_index: int, pixels_only: bool
) -> dict[str, bytes]:
    """Ask for the starts of an inversion of an image uint8 [H, W, C]."""
    place = {"seed": seed, "first_start": first_start, "starts": starts}
    return _about(image, {**place, "class": class_index, "pixels_only": pixels_only}, b"")


def search_request(
    image: NDArray[np.uint8],
    state: NDArray[np.float32],
    *,
    step: int,
    count: int,
    steps: int,
    class_index: int,
    pixels_only: bool,
) -> dict[str, bytes]:
    """Ask for `count` of all `steps` steps of starts that have taken `step` of them."""
    place = {"step": step, "count": count, "steps": steps, "starts": state.shape[1]}
    fields = {**place, "class": class_index, "pixels_only": pixels_only}
    return _about(image, fields, np.ascontiguousarray(state, "<f4").tobytes())


def read_search(answer: bytes, shape: tuple[int, int]) -> Search:
    """Read the answer to either; the shape is (starts, latent size).

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged, of another shape, or says `error`.
    """
    _, tensors = opened(answer)
    return Search(
        numbers(tensors, "state", (3, *shape)),
        numbers(tensors, "latents", shape),
        numbers(tensors, "losses", shape[:1]),
    )


def _about(image: NDArray[np.uint8], request: dict[str, object], state: bytes) -> dict[str, bytes]:
    named = request_of({"op": "invert", "shape": [1, *image.shape], **request})
    return {**named, "pixels": image.tobytes() + state}
