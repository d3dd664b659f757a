"""Exploring a latent space: drawing formulas, and walking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import pictures
from mintage._client.calls import Call, Stream, made, model_name
from mintage.formulas import parse
from mintage.pictures import to_pil
from mintage.v1 import generation_pb2, latents_pb2
from mintage.v1.latents_pb2 import Latent, WalkRequest

Formulas: TypeAlias = str | Latent | Iterable[str | Latent]

_SERVICE = "/mintage.v1.LatentService/"


@dataclass(frozen=True, slots=True)
class Frames:
    """Some frames of a walk.

    Attributes:
        first_frame: Number of the first one, from 0.
        total: Frames of the whole walk.
        images: uint8 [n, H, W, C].
        latents: The formula of each.
        distances: float64 [n], root mean square difference of each frame's pixels from those of the frame before, from
            0 to 255; 0 for frame 0.
    """

    first_frame: int
    total: int
    images: NDArray[np.uint8]
    latents: tuple[Latent, ...]
    distances: NDArray[np.float64]


def draw(
    model: str,
    latents: Formulas,
    *,
    seed: int = 0,
    class_index: int | None = None,
    drop: Mapping[int, Sequence[int]] | None = None,
    keep: Mapping[int, Sequence[int]] | None = None,
    timeout_s: float | None = None,
) -> Call[NDArray[np.uint8]]:
    """Draw the images of latents that are written as formulas.

    Args:
        model: A loaded generator.
        latents: Formulas, as text such as `mean(#1, #2) + 2 * turn` or as messages; a text with ranges, such as
            `slerp(7#1, 7#2, 0:1:64)`, is several. At most 1024 in all, or the server's own limit if that is lower.
        seed: Of samples without one, from 0 to 2^64 - 1.
        class_index: Class of the images of a conditional generator; None is the class of the first sample in each.
        drop: Feature maps, by layer from 1 (next to the latent), whose activations are set to 0.
        keep: Feature maps, by layer, all but which are set to 0; of other layers than those in `drop`.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: uint8 [n, H, W, C].

    Raises:
        InputError: if a text is no formula, naming the column, or a number does not fit its field.
        InvalidRequest: naming each wrong part of a formula, or if there is no such class, layer or map.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    request = made(
        latents_pb2.DrawRequest,
        model=model_name(model),
        latents=read(latents, seed=seed),
        class_index=class_index,
        drop=_maps(drop),
        keep=_maps(keep),
        format=generation_pb2.IMAGE_FORMAT_RAW,
    )
    return Call(f"{_SERVICE}Draw", request, latents_pb2.DrawResponse, _images, timeout_s=timeout_s)


def draw_pil(
    model: str,
    latents: Formulas,
    *,
    seed: int = 0,
    class_index: int | None = None,
    drop: Mapping[int, Sequence[int]] | None = None,
    keep: Mapping[int, Sequence[int]] | None = None,
    timeout_s: float | None = None,
) -> Call[list[Image.Image]]:
    """As `draw`, but returns Pillow images, `L` or `RGB`.

    Raises:
        InputError, InvalidRequest, NotFound, NotPossible, Overloaded, Unavailable, TimedOut: as `draw`.
    """
    call = draw(model, latents, seed=seed, class_index=class_index, drop=drop, keep=keep, timeout_s=timeout_s)
    return Call(
        call.method, call.request, call.answer, lambda answer: to_pil(_images(answer)), timeout_s=call.timeout_s
    )


def walk(
    model: str,
    through: Formulas,
    *,
    frames_per_leg: int = 16,
    linear: bool = False,
    closed: bool = False,
    seed: int = 0,
    class_index: int | None = None,
) -> Stream[Frames]:
    """Yield the frames of a walk through latents, in parts, as they are drawn; has no time limit.

    The server draws no more than a few parts before they are read, and stops when the iterator is closed.

    Args:
        model: A loaded generator.
        through: At least 2 formulas and at most 256, as for `draw`.
        frames_per_leg: From each latent to the next, from 1 to 1024.
        linear: Whether to go along straight lines, and not along arcs.
        closed: Whether to return to the first latent at the end, whose frame is not repeated.
        seed: Of samples without one, from 0 to 2^64 - 1.
        class_index: Class of the images of a conditional generator; None is the class of the first latent.

    Raises:
        InputError: if a text is no formula, naming the column, or a number does not fit its field.
        InvalidRequest: naming each wrong part of a formula, or if a number is out of its range.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: if it is not ready.
    """
    request = made(
        WalkRequest,
        model=model_name(model),
        through=read(through, seed=seed),
        frames_per_leg=frames_per_leg,
        interpolation=WalkRequest.INTERPOLATION_LERP if linear else WalkRequest.INTERPOLATION_SLERP,
        closed=closed,
        class_index=class_index,
        format=generation_pb2.IMAGE_FORMAT_RAW,
    )
    return Stream(Call(f"{_SERVICE}Walk", request, latents_pb2.WalkResponse, _frames))


def read(latents: Formulas, *, seed: int = 0) -> list[Latent]:
    """Read formulas given in any form.

    Raises:
        InputError: if a text is no formula.
    """
    each = [latents] if isinstance(latents, str | Latent) else latents
    return [found for one in each for found in (parse(one, seed=seed) if isinstance(one, str) else [one])]


def _maps(by_layer: Mapping[int, Sequence[int]] | None) -> list[latents_pb2.FeatureMaps]:
    return [made(latents_pb2.FeatureMaps, layer=layer, maps=maps) for layer, maps in (by_layer or {}).items()]


def _images(answer: latents_pb2.DrawResponse | latents_pb2.WalkResponse) -> NDArray[np.uint8]:
    return pictures.from_raw(answer.images, answer.shape.height, answer.shape.width, answer.shape.channels)


def _frames(answer: latents_pb2.WalkResponse) -> Frames:
    return Frames(
        first_frame=answer.first_frame,
        total=answer.frames,
        images=_images(answer),
        latents=tuple(answer.latents),
        distances=np.array(answer.distances),
    )
