"""Generating and classifying images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mintage import pictures
from mintage._client.calls import Call, made, model_name
from mintage.pictures import Pictures, to_pil
from mintage.v1 import classification_pb2, generation_pb2

_GENERATE = "/mintage.v1.GenerationService/Generate"
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


def _images(answer: generation_pb2.GenerateResponse) -> NDArray[np.uint8]:
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
