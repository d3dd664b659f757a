"""Directions of latent spaces, saved and found, and the latents of images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import pictures
from mintage._client.calls import Call, Page, Pages, Stream, made, model_name, nothing
from mintage._client.latent_calls import Formulas, read
from mintage.pictures import Pictures
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Direction, FindDirectionsRequest

_SERVICE = "/mintage.v1.LatentService/"


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """How far the search for an image's latent is.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        pixel_error: Root mean square difference of the best image's pixels from those of the given one, from 0 to 255.
        loss: Loss of the best start.
        values: float64 [Z], the best latent so far.
        image: uint8 [H, W, C], its image.
        done: Whether this is the result.
    """

    step: int
    steps: int
    pixel_error: float
    loss: float
    values: NDArray[np.float64]
    image: NDArray[np.uint8]
    done: bool


def list_directions(model: str) -> Pages[Direction]:
    """List every saved direction of a generator's present archive, in order of the names.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
    """

    def page(token: str) -> Call[Page[Direction]]:
        request = latents_pb2.ListDirectionsRequest(model=model_name(model), page_token=token)
        answer = latents_pb2.ListDirectionsResponse
        return Call(f"{_SERVICE}ListDirections", request, answer, lambda a: Page(a.directions, a.next_page_token))

    return Pages(page)


def save_direction(
    model: str, name: str, direction: Direction | Sequence[float] | NDArray[np.float64], *, replace: bool = False
) -> Call[Direction]:
    """Save a direction, or the latent of an inverted image, so that formulas can name it.

    Args:
        model: A loaded generator; what is saved belongs to its present archive.
        name: 1 to 63 of a-z, 0-9, - and _, beginning with a letter, and not the name of a function in formulas.
        direction: As it was found, or its numbers, as many as the model's `latent_size`.
        replace: Whether an existing direction of that name is replaced.

    Returns: it as it was saved.

    Raises:
        InputError: if these are no numbers.
        InvalidRequest: naming each wrong field.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        AlreadyExists: if the name has other numbers and `replace` is not set.
    """
    saved = Direction()
    if isinstance(direction, Direction):
        saved.CopyFrom(direction)
    else:
        saved = made(Direction, values=[float(value) for value in direction])
    saved.name = name
    request = made(latents_pb2.SaveDirectionRequest, model=model_name(model), direction=saved, replace=replace)
    return Call(f"{_SERVICE}SaveDirection", request, latents_pb2.SaveDirectionResponse, lambda a: a.direction)


def delete_direction(model: str, name: str) -> Call[None]:
    """Delete a saved direction.

    Raises:
        InvalidRequest: if this cannot be a name.
        NotFound: if the model is not loaded, or has no direction of that name.
        NotPossible: if it is not a generator.
    """
    request = made(latents_pb2.DeleteDirectionRequest, model=model_name(model), direction=name)
    answer = latents_pb2.DeleteDirectionResponse
    return Call(f"{_SERVICE}DeleteDirection", request, answer, nothing, repeatable=False)


def direction_between(
    model: str, without: Formulas, having: Formulas, *, seed: int = 0, timeout_s: float | None = None
) -> Call[Direction]:
    """Find the direction from latents that lack a property to latents that have it, the difference of their means.

    Args:
        model: A loaded generator.
        without: Formulas of latents that lack it, as for `draw`.
        having: Those of latents that have it.
        seed: Of samples without one, from 0 to 2^64 - 1.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if a text is no formula, naming the column, or a number does not fit its field.
        InvalidRequest: naming each wrong part of a formula.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    between = made(
        FindDirectionsRequest.Between, **{"without": read(without, seed=seed), "with": read(having, seed=seed)}
    )
    request = made(FindDirectionsRequest, model=model_name(model), between=between)
    return _finding(request, timeout_s)


def directions_of_weights(model: str, *, count: int = 0, timeout_s: float | None = None) -> Call[list[Direction]]:
    """Find the directions that change the outputs of a generator's first layer most, the most effective first.

    Args:
        model: A loaded generator.
        count: How many, from 1 to 64; 0 chooses 8.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: at most `count`; each is one standard deviation of the model's latents long.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if `count` is out of its range.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    weights = made(FindDirectionsRequest.Weights, count=count)
    request = made(FindDirectionsRequest, model=model_name(model), weights=weights)
    answer = latents_pb2.FindDirectionsResponse
    return Call(f"{_SERVICE}FindDirections", request, answer, lambda a: list(a.directions), timeout_s=timeout_s)


def direction_towards(
    model: str,
    other: str,
    *,
    class_name: str | None = None,
    concept: str | None = None,
    samples: int = 0,
    seed: int = 0,
    timeout_s: float | None = None,
) -> Call[Direction]:
    """Find the direction along which what another model answers grows fastest, by a linear fit to samples.

    Args:
        model: A loaded generator.
        other: A loaded classifier or autoencoder; the generator's images are resized and turned grey or coloured for
            it.
        class_name: Class whose probability is fitted; or else
        concept: concept whose neuron is.
        samples: To fit to, from 64 to 16384; 0 chooses 1024. A fifth more measure the accuracy.
        seed: Of the samples, from 0 to 2^64 - 1.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: the direction, one standard deviation of the model's latents long. Its `accuracy` is the share of held-out
        samples that the fit puts on the right side of the boundary, averaged over both sides; guessing gives 0.5.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if a number is out of its range, or the other model has no such class.
        NotFound: if one of the models is not loaded, or the other one has no such concept.
        NotPossible: if they are of other kinds, or the answer is the same for all samples.
        Overloaded: if too many requests wait for one of them.
        Unavailable: while one of them is not ready.
        TimedOut: if the time limit passes.
    """
    answers = made(
        FindDirectionsRequest.Answers,
        model=model_name(other),
        class_name=class_name,
        concept=concept,
        samples=samples,
        seed=seed,
    )
    return _finding(made(FindDirectionsRequest, model=model_name(model), answers=answers), timeout_s)


def invert(
    model: str,
    image: Pictures,
    *,
    starts: int = 0,
    steps: int = 0,
    seed: int = 0,
    pixels_only: bool = False,
    class_index: int | None = None,
) -> Stream[Inversion]:
    """Search for the latent whose image is a given one, and yield how far that is; has no time limit.

    The server stops when the iterator is closed. The last item is the result, and the same for the same arguments on
    the same device.

    Args:
        model: A loaded generator.
        image: One image of the model's size, in any form that `classify` takes, or uint8 [H, W, C];
            `mintage.pictures.fitted` resizes.
        starts: From 1 to 64, of which the best is the result; 0 chooses 8.
        steps: Steps of the optimisation, from 1 to 2000; 0 chooses 300.
        seed: Of the starts, from 0 to 2^64 - 1.
        pixels_only: Whether pixels alone are compared, and not the hidden units of the generator's discriminator too.
        class_index: Class of a conditional generator; None is 0.

    Raises:
        InputError: if `image` is no image, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: if the image has another size, a number is out of its range, or there is no such class.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator, or its discriminator is not loaded and `pixels_only` is not set.
        Overloaded: if too many requests wait for it.
        Unavailable: if it is not ready.
    """
    request = made(
        latents_pb2.InvertRequest,
        model=model_name(model),
        starts=starts,
        steps=steps,
        seed=seed,
        pixels_only=pixels_only,
        class_index=class_index,
        **pictures.upload_of(image[None] if isinstance(image, np.ndarray) and image.ndim == 3 else image),
    )
    return Stream(Call(f"{_SERVICE}Invert", request, latents_pb2.InvertResponse, _inversion))


def _finding(request: FindDirectionsRequest, timeout_s: float | None) -> Call[Direction]:
    answer = latents_pb2.FindDirectionsResponse
    return Call(f"{_SERVICE}FindDirections", request, answer, lambda a: a.directions[0], timeout_s=timeout_s)


def _inversion(answer: latents_pb2.InvertResponse) -> Inversion:
    with Image.open(io.BytesIO(answer.image), formats=("PNG",)) as image:
        pixels = np.asarray(image, np.uint8)
    return Inversion(
        step=answer.step,
        steps=answer.steps,
        pixel_error=answer.pixel_error,
        loss=answer.loss,
        values=np.array(answer.values, np.float64),
        image=pixels[:, :, None] if pixels.ndim == 2 else pixels,
        done=answer.done,
    )
