"""The model's side of the wire; `service.envelope` is the other, docs/architecture.md has the table.

A request is a map of bytes: `request` is JSON, `pixels` raw uint8. An answer is one safetensors blob whose tensor
`header` is JSON. Its status is `ok`, `invalid` (the request is wrong), `error` (the model failed on it; the log says
why) or `refused` (the archive is unfit, nothing was loaded).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from handlers.errors import RequestError


@dataclass(frozen=True, slots=True)
class Describe:
    """Asks what the model is."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Asks for one real forward pass whose result is finite."""


@dataclass(frozen=True, slots=True)
class Generate:
    """Asks for samples first_index to first_index + count - 1 of a seed."""

    seed: int
    first_index: int
    count: int


@dataclass(frozen=True, slots=True)
class Classify:
    """Asks for the class probabilities of images uint8 [N, H, W, C]."""

    images: NDArray[np.uint8]


Request = Describe | Canary | Generate | Classify


@dataclass(frozen=True, slots=True)
class Answer:
    """A request's good end: facts for the header, and tensors."""

    facts: Mapping[str, object] = field(default_factory=dict)
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request's bad end; the message says nothing of the inside."""

    status: Literal["invalid", "error", "refused"]
    message: str


def read_request(item: Mapping[str, bytes | bytearray]) -> Request:
    """Read one item of TorchServe's batch.

    Raises:
        RequestError: if it is no request; the text says what was expected.
    """
    try:
        request = json.loads(bytes(item["request"]))
        op = request["op"]
    except (KeyError, TypeError, ValueError):
        raise RequestError("expected the input `request` to be a JSON object with `op`") from None
    if op == "describe":
        return Describe()
    if op == "canary":
        return Canary()
    if op == "generate":
        return _generate(request)
    if op == "classify":
        return Classify(_pixels(request, item))
    raise RequestError(f"op {op!r} is none of describe, canary, generate, classify")


def write_answer(outcome: Answer | Failure, facts: Mapping[str, object]) -> bytes:
    """Write one answer; `facts` go into every header."""
    if isinstance(outcome, Failure):
        return _blob({**facts, "status": outcome.status, "message": outcome.message}, {})
    return _blob({**facts, **outcome.facts, "status": "ok", "message": ""}, outcome.tensors)


def _generate(request: Mapping[str, Any]) -> Generate:
    seed = _whole(request, "seed", 0, 2**64 - 1)
    count = _whole(request, "count", 1, 2**31 - 1)
    return Generate(seed, _whole(request, "first_index", 0, 2**63 - count), count)


def _pixels(request: Mapping[str, Any], item: Mapping[str, bytes | bytearray]) -> NDArray[np.uint8]:
    """Return the images of a request, whose pixels must be as many as its shape says."""
    shape, pixels = request.get("shape"), item.get("pixels", b"")
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(size) is int and size > 0 for size in shape):
        raise RequestError(f"shape must be [n, height, width, channels], each at least 1, not {shape!r}")
    if len(pixels) != math.prod(shape):
        raise RequestError(f"pixels must be {math.prod(shape)} bytes for shape {shape}, not {len(pixels)}")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _whole(request: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = request.get(name)
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def _blob(header: Mapping[str, object], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return save({"header": text, **{name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}})
