"""The service's side of the wire to a model: what goes into a TorchServe request, and what its answer means.

`handlers.wire` is the other side; `tests/handlers/test_wire.py` holds the two together. TorchServe drops status codes
over gRPC, so each answer is one safetensors blob whose `header` says how the item fared:

    ok        the header and the tensors hold the answer
    invalid   the request is wrong; the message says why             -> InvalidArgument
    error     the model failed on this item; the details are logged  -> Internal
    refused   the archive itself is unfit, nothing was loaded        -> FailedPrecondition
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from service.errors import FailedPrecondition, FieldViolation, Internal, InvalidArgument
from service.registry import Kind


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a loaded model says of itself; `latent_size` is 0 unless it is a generator."""

    kind: Kind
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    latent_size: int
    micro_batch: int
    device_class: str
    torch_version: str
    recipe: str


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Images uint8 [n, H, W, C] and what they were computed on; the two strings bound the promise of equal bytes."""

    images: NDArray[np.uint8]
    device_class: str
    torch_version: str


@dataclass(frozen=True, slots=True)
class Classifications:
    """Probabilities float32 [n, K], each row summing to 1, and p(generated) float32 [n] if the model knows it."""

    probabilities: NDArray[np.float32]
    generated: NDArray[np.float32] | None
    device_class: str
    torch_version: str


def describe_request() -> dict[str, bytes]:
    """Ask a model what it is; answered without a forward pass."""
    return _request({"op": "describe"})


def canary_request() -> dict[str, bytes]:
    """Ask for one real forward pass whose result is finite."""
    return _request({"op": "canary"})


def generate_request(seed: int, first_index: int, count: int) -> dict[str, bytes]:
    """Ask for samples first_index to first_index + count - 1 of a seed.

    Args:
        seed: from 0 to 2**64 - 1.
        first_index: from 0; first_index + count is at most 2**63.
        count: at least 1.
    """
    return _request({"op": "generate", "seed": seed, "first_index": first_index, "count": count})


def classify_request(images: NDArray[np.uint8]) -> dict[str, bytes]:
    """Ask for the class probabilities of images uint8 [N, H, W, C], N at least 1."""
    return {**_request({"op": "classify", "shape": list(images.shape)}), "pixels": images.tobytes()}


def read_description(answer: bytes) -> ModelDescription:
    """Read the answer to `describe_request`.

    Raises:
        Internal: if the answer is damaged or says `error`.
        FailedPrecondition: if the model was refused at load; the text says why.
    """
    header, _ = _read(answer)
    kind = _text(header, "kind")
    if kind not in get_args(Kind):
        raise _damaged(f"no kind is called {kind!r}")
    return ModelDescription(
        kind=cast(Kind, kind),
        height=_whole(header, "height", least=1),
        width=_whole(header, "width", least=1),
        channels=_whole(header, "channels", least=1),
        classes=_texts(header, "classes"),
        latent_size=_whole(header, "latent_size", least=0),
        micro_batch=_whole(header, "micro_batch", least=1),
        device_class=_text(header, "device_class"),
        torch_version=_text(header, "torch_version"),
        recipe=_text(header, "recipe"),
    )


def read_canary(answer: bytes) -> None:
    """Read the answer to `canary_request`; returns if the forward pass was sound.

    Raises:
        Internal: if it was not.
        FailedPrecondition: if the model was refused at load; the text says why.
    """
    _read(answer)


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
    header, tensors = _read(answer)
    images = _tensor(tensors, "images", np.dtype(np.uint8), shape)
    return GeneratedImages(images, _text(header, "device_class"), _text(header, "torch_version"))


def read_classifications(answer: bytes, shape: tuple[int, int]) -> Classifications:
    """Read the answer to `classify_request`.

    Args:
        answer: what TorchServe returned.
        shape: the expected (images, classes).

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged, of another shape, holds no probabilities, or says `error`.
        FailedPrecondition: if the model was refused at load.
    """
    header, tensors = _read(answer)
    probabilities = _probabilities(tensors, "probabilities", shape)
    if not bool((np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1) <= 1e-5).all()):
        raise _damaged("probabilities do not sum to 1")
    generated = _probabilities(tensors, "generated", shape[:1]) if "generated" in tensors else None
    return Classifications(probabilities, generated, _text(header, "device_class"), _text(header, "torch_version"))


def _request(request: dict[str, object]) -> dict[str, bytes]:
    return {"request": json.dumps(request).encode()}


def _read(answer: bytes) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
    """Take an answer apart into its header, whose status is `ok`, and its tensors."""
    try:
        tensors = load(answer)
        header = json.loads(tensors["header"].tobytes())
        status = header["status"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(f"no safetensors with a header ({error!r})") from None
    if status != "ok":
        raise _failure(str(status), str(header.get("message", "")))
    return header, tensors


def _failure(status: str, message: str) -> Exception:
    """Return the error that a status other than `ok` stands for."""
    if status == "invalid":
        return InvalidArgument([FieldViolation("request", message)])
    if status == "refused":
        return FailedPrecondition(message, reason="MODEL_REFUSED")
    return Internal(f"the model failed: {message}" if message else "the model failed", reason="MODEL_FAILED")


def _damaged(what: str) -> Internal:
    return Internal(f"the model's answer is damaged: {what}", reason="MODEL_ANSWER_DAMAGED")


def _tensor(
    tensors: Mapping[str, NDArray[Any]], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return one tensor of exactly this type and shape."""
    tensor = tensors.get(name)
    if tensor is None:
        raise _damaged(f"it lacks {name}")
    if tensor.dtype != dtype or tensor.shape != shape:
        raise _damaged(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {dtype} {list(shape)}")
    return tensor


def _probabilities(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return one float32 tensor whose numbers all lie from 0 to 1, which NaN does not."""
    tensor = _tensor(tensors, name, np.dtype(np.float32), shape)
    if not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise _damaged(f"{name} holds a number outside 0 to 1")
    return tensor


def _whole(header: Mapping[str, Any], name: str, *, least: int) -> int:
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _damaged(f"{name} is {value!r}, not a whole number from {least}")
    return value


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not value:
        raise _damaged(f"{name} is {value!r}, not a text")
    return value


def _texts(header: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = header.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _damaged(f"{name} is not a list of texts")
    return tuple(value)
