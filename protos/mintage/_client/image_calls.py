"""Generating and classifying images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import pictures
from mintage._client.calls import Call, made, model_name
from mintage.errors import NotPossible
from mintage.pictures import Pictures, to_pil
from mintage.v1 import classification_pb2, generation_pb2

T = TypeVar("T")

_GENERATE = "/mintage.v1.GenerationService/Generate"
_STREAM = "/mintage.v1.GenerationService/StreamGenerate"
_CLASSIFY = "/mintage.v1.ClassificationService/Classify"


@dataclass(frozen=True, slots=True)
class Classifications:
    """What a classifier says of N images.

    Attributes:
        model: Resource name of the model that answered.
        digest: SHA-256 of its archive.
        classes: Names of the K classes.
        probabilities: float32 [N, K], of each class given that the image is real; each row sums to 1.
        generated: float32 [N], the probability that the image is generated; None if the model cannot say.
        best: int64 [N], index of the most probable class.
    """

    model: str
    digest: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    generated: NDArray[np.float32] | None
    best: NDArray[np.int64]

    @property
    def labels(self) -> list[str]:
        """Name of the most probable class of each image."""
        return [self.classes[index] for index in self.best]


def generate(
    model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
) -> Call[NDArray[np.uint8]]:
    """Generate samples first_index to first_index + count - 1 of a seed.

    Args:
        model: A loaded generator.
        count: Number of images, from 1 to 1024, or to the server's own limit if that is lower.
        seed: Of the latents, from 0 to 2^64 - 1.
        first_index: From 0; first_index + count is at most 2^63 - 1.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: uint8 [count, H, W, C].

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if a number is out of its range.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    request = made(
        generation_pb2.GenerateRequest,
        model=model_name(model),
        count=count,
        seed=seed,
        first_index=first_index,
        format=generation_pb2.IMAGE_FORMAT_RAW,
    )
    return Call(_GENERATE, request, generation_pb2.GenerateResponse, _images, timeout_s=timeout_s)


def generate_pil(
    model: str, count: int, *, seed: int = 0, first_index: int = 0, timeout_s: float | None = None
) -> Call[list[Image.Image]]:
    """As `generate`, but returns Pillow images, `L` or `RGB`.

    Raises:
        InputError, InvalidRequest, NotFound, NotPossible, Overloaded, Unavailable, TimedOut: as `generate`.
    """
    call = generate(model, count, seed=seed, first_index=first_index, timeout_s=timeout_s)
    return Call(
        call.method, call.request, call.answer, lambda answer: to_pil(_images(answer)), timeout_s=call.timeout_s
    )


class ImageStream(Generic[T]):
    """Images that come in parts; if the server goes away, the rest is asked for anew.

    Attributes:
        ended: Whether all have come.
    """

    def __init__(
        self,
        read: Callable[[generation_pb2.StreamGenerateResponse], T],
        request: generation_pb2.StreamGenerateRequest,
    ) -> None:
        self.ended = False
        self._read, self._request = read, request
        self._origin: tuple[str, str] | None = None  # archive and device class, which decide the images

    def call(self) -> Call[T]:
        """The stream of the images that have not come."""
        return Call(_STREAM, self._request, generation_pb2.StreamGenerateResponse, self._take)

    def _take(self, answer: generation_pb2.StreamGenerateResponse) -> T:
        origin = answer.model_digest, answer.device_class
        if self._origin not in (None, origin):
            text = f"{answer.model} was replaced, or runs on another kind of device, since the stream began"
            raise NotPossible(text, code=grpc.StatusCode.FAILED_PRECONDITION)
        rest = generation_pb2.StreamGenerateRequest()
        rest.CopyFrom(self._request)
        rest.first_index += len(answer.images)
        rest.count -= len(answer.images)
        self._origin, self._request, self.ended = origin, rest, rest.count <= 0
        return self._read(answer)


def stream_generate(model: str, count: int, *, seed: int = 0, first_index: int = 0) -> ImageStream[NDArray[np.uint8]]:
    """Yield the images that `generate` gives, in parts, as they are made; has no time limit.

    The server makes no more than a few parts before they are read, and stops when the iterator is closed. If it goes
    away, the stream goes on once it is back.

    Args:
        model: A loaded generator.
        count: Number of images, from 1 to the server's limit, by default 100,000.
        seed: Of the latents, from 0 to 2^64 - 1.
        first_index: From 0; first_index + count is at most 2^63 - 1.

    Returns: parts uint8 [n, H, W, C], in order.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if a number is out of its range.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator, or was replaced while the server was away.
        Overloaded: if too many requests wait for it.
        Unavailable: if it is not ready, or the server stays away, longer than the retries last.
    """
    return ImageStream(_images, _stream_request(model, count, seed, first_index, generation_pb2.IMAGE_FORMAT_RAW))


def stream_generate_png(model: str, count: int, *, seed: int = 0, first_index: int = 0) -> ImageStream[list[bytes]]:
    """As `stream_generate`, but yields lists of PNG files: the same bytes as in the shards of a job.

    Raises:
        InputError, InvalidRequest, NotFound, NotPossible, Overloaded, Unavailable: as `stream_generate`.
    """
    request = _stream_request(model, count, seed, first_index, generation_pb2.IMAGE_FORMAT_PNG)
    return ImageStream(lambda answer: list(answer.images), request)


def classify(model: str, images: Pictures, *, timeout_s: float | None = None) -> Call[Classifications]:
    """Classify images.

    Args:
        model: A loaded classifier.
        images: uint8 [N, H, W, C], or Pillow images, paths, or the bytes of image files; all of the model's size. N is
            from 1 to 1024, or to the server's own limit if that is lower.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if `images` are none of these.
        OSError: if a path cannot be read.
        InvalidRequest: naming each image that cannot be decoded or has another size than the model takes.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a classifier.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    request = made(classification_pb2.ClassifyRequest, model=model_name(model), **pictures.upload_of(images))
    return Call(_CLASSIFY, request, classification_pb2.ClassifyResponse, _classifications, timeout_s=timeout_s)


def _stream_request(
    model: str, count: int, seed: int, first_index: int, form: generation_pb2.ImageFormat.ValueType
) -> generation_pb2.StreamGenerateRequest:
    fields = {"count": count, "seed": seed, "first_index": first_index, "format": form}
    return made(generation_pb2.StreamGenerateRequest, model=model_name(model), **fields)


def _images(answer: generation_pb2.GenerateResponse | generation_pb2.StreamGenerateResponse) -> NDArray[np.uint8]:
    return pictures.from_raw(answer.images, answer.shape.height, answer.shape.width, answer.shape.channels)


def _classifications(answer: classification_pb2.ClassifyResponse) -> Classifications:
    each = answer.classifications
    knows_generated = all(one.HasField("generated_probability") for one in each)
    generated = np.array([one.generated_probability for one in each], np.float32)  # [N]
    return Classifications(
        model=answer.model,
        digest=answer.model_digest,
        classes=tuple(answer.classes),
        probabilities=np.array([one.probabilities for one in each], np.float32).reshape(len(each), -1),  # [N, K]
        generated=generated if knows_generated else None,
        best=np.array([one.best_class for one in each], np.int64),  # [N]
    )
