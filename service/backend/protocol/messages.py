"""The service's side of the protocol between service and model: requests to TorchServe, and what answers mean.

`handlers.protocol.messages` is the other side; `tests/handlers/protocol/test_messages.py` checks that the two agree.
`decoding` decodes answers; `neuron_messages` has the part of autoencoders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from service.backend.protocol.decoding import (
    damaged,
    numbers,
    opened,
    pixels,
    probabilities,
    text,
    texts,
    whole,
    wholes,
)
from service.backend.protocol.description import Kind, ModelDescription
from service.backend.protocol.neurons import read_concepts, read_shapes, read_stages


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Images uint8 [n, H, W, C], and the device class, torch version and numerics that promise equal bytes."""

    images: NDArray[np.uint8]
    device_class: str
    torch_version: str
    numerics: int


@dataclass(frozen=True, slots=True)
class Classifications:
    """Probabilities float32 [n, K], each row summing to 1, and p(generated) float32 [n] if the model knows it.

    `features` float32 [n, F] are there if they were asked for.
    """

    probabilities: NDArray[np.float32]
    generated: NDArray[np.float32] | None
    device_class: str
    torch_version: str
    numerics: int
    features: NDArray[np.float32] | None = None


def describe_request() -> dict[str, bytes]:
    """Ask a model what it is; answered without a forward pass."""
    return request_of({"op": "describe"})


def canary_request() -> dict[str, bytes]:
    """Ask for one real forward pass whose result is finite."""
    return request_of({"op": "canary"})


def generate_request(seed: int, first_index: int, count: int) -> dict[str, bytes]:
    """Ask for samples first_index to first_index + count - 1 of a seed.

    Args:
        seed: from 0 to 2**64 - 1.
        first_index: from 0; first_index + count is at most 2**63.
        count: at least 1.
    """
    return request_of({"op": "generate", "seed": seed, "first_index": first_index, "count": count})


def classify_request(images: NDArray[np.uint8], *, features: bool = False) -> dict[str, bytes]:
    """Ask for the class probabilities of images uint8 [N, H, W, C], N at least 1, and for their features if wanted."""
    flags = {"features": True} if features else {}
    return {**request_of({"op": "classify", "shape": list(images.shape), **flags}), "pixels": images.tobytes()}


def read_description(answer: bytes) -> ModelDescription:
    """Read the answer to `describe_request`.

    Raises:
        Internal: if the answer is damaged or says `error`.
        FailedPrecondition: if the model was refused at load; the text says why.
    """
    header, _ = opened(answer)
    kind = text(header, "kind")
    if kind not in get_args(Kind):
        raise damaged(f"no kind is called {kind!r}")
    stages = read_stages(header)
    return ModelDescription(
        kind=cast(Kind, kind),
        height=whole(header, "height", minimum=1),
        width=whole(header, "width", minimum=1),
        channels=whole(header, "channels", minimum=1),
        classes=texts(header, "classes"),
        latent_size=whole(header, "latent_size", minimum=0),
        micro_batch=whole(header, "micro_batch", minimum=1),
        device_class=text(header, "device_class"),
        torch_version=text(header, "torch_version"),
        numerics=whole(header, "numerics", minimum=1),
        precision=text(header, "precision"),
        recipe=text(header, "recipe"),
        stages=stages,
        concepts=read_concepts(header, stages),
        features=whole(header, "features", minimum=0) if "features" in header else 0,
        batch_sizes=wholes(header, "batch_sizes", minimum=1) if "batch_sizes" in header else (),
        run_digest=text(header, "run_digest"),
        layers=read_shapes(header, "layers"),
    )


def read_canary(answer: bytes) -> tuple[int, ...]:
    """Read the answer to `canary_request`; returns, if the forward pass was sound, the batch sizes that are not.

    Raises:
        Internal: if it was not.
        FailedPrecondition: if the model was refused at load; the text says why.
    """
    header, _ = opened(answer)
    return wholes(header, "withdrawn", minimum=1) if "withdrawn" in header else ()


def read_images(answer: bytes, shape: tuple[int, int, int, int]) -> GeneratedImages:
    """Read the answer to `generate_request`.

    Args:
        answer: what TorchServe returned.
        shape: the expected (count, height, width, channels).

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged, of another shape, or says `error`.
        FailedPrecondition: if the model was refused at load.
    """
    header, tensors = opened(answer)
    return GeneratedImages(
        pixels(tensors, "images", shape),
        text(header, "device_class"),
        text(header, "torch_version"),
        whole(header, "numerics", minimum=1),
    )


def read_classifications(answer: bytes, shape: tuple[int, int], *, features: int = 0) -> Classifications:
    """Read the answer to `classify_request`.

    Args:
        answer: what TorchServe returned.
        shape: the expected (images, classes).
        features: how many of an image were asked for.

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged, of another shape, holds no probabilities, or says `error`.
        FailedPrecondition: if the model was refused at load.
    """
    header, tensors = opened(answer)
    found = probabilities(tensors, "probabilities", shape)
    if not bool((np.abs(found.sum(axis=1, dtype=np.float64) - 1) <= 1e-5).all()):
        raise damaged("probabilities do not sum to 1")
    generated = probabilities(tensors, "generated", shape[:1]) if "generated" in tensors else None
    vectors = numbers(tensors, "features", (shape[0], features)) if features else None
    return Classifications(
        found,
        generated,
        text(header, "device_class"),
        text(header, "torch_version"),
        whole(header, "numerics", minimum=1),
        vectors,
    )


def request_of(request: dict[str, object]) -> dict[str, bytes]:
    """Encode a request as TorchServe's map of inputs."""
    return {"request": json.dumps(request).encode()}
