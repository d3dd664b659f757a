"""The handlers' side of the wire; `service.backend.protocol.messages` is the other, docs/architecture.md has the table.

A request is a map of bytes: `request` is JSON, `pixels` raw uint8. On a socket it is one message: the length of
`request` as a little-endian uint32, `request`, then `pixels`; through TorchServe the map also has `class` and `client`,
which a socket's calls have in their metadata. An answer is one safetensors blob whose tensor `header`
is JSON. Its status is `ok`, `invalid` (the request is wrong), `error` (the model failed; the log says why) or
`refused` (the archive is unfit and was not loaded).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from handlers.errors import RequestError
from handlers.protocol.formulas import read_formulas
from handlers.protocol.requests import (
    ABOUT_IMAGES,
    Activate,
    Answer,
    Canary,
    Classify,
    Describe,
    Detect,
    Draw,
    Evaluate,
    Explain,
    Failure,
    Generate,
    Invert,
    MapTarget,
    NeuronTarget,
    Peaks,
    Reconstruct,
    Request,
    Stimulate,
    Tap,
    WeightDirections,
)

Item = Mapping[str, bytes | bytearray | memoryview]


MAX_STEPS = 10_000  # of a gradient ascent; the API's limit is lower
HEADER_BYTES = 2**14  # ample for all of an answer except its images
_LENGTH = struct.Struct("<I")


def item_of(message: bytes) -> Item:
    """Take a message of a socket apart.

    Raises:
        RequestError: if it is too short.
    """
    if len(message) < _LENGTH.size or len(message) < _LENGTH.size + _LENGTH.unpack_from(message)[0]:
        raise RequestError("expected a length, a request of that length, and pixels")
    end = _LENGTH.size + _LENGTH.unpack_from(message)[0]
    return {"request": message[_LENGTH.size : end], "pixels": memoryview(message)[end:]}


def read_request(item: Item) -> Request:
    """Read one item of TorchServe's batch, or of a socket.

    Raises:
        RequestError: if it is malformed; the text says what was expected.
    """
    try:
        request = json.loads(bytes(item["request"]))
        op = request["op"]
    except (KeyError, TypeError, ValueError):
        raise RequestError("expected the input `request` to be a JSON object with `op`") from None
    reader = _READERS.get(op) if isinstance(op, str) else None
    if reader is None:
        raise RequestError(f"op {op!r} is none of {', '.join(_READERS)}")
    return reader(request, item)


def size_of(request: Request | Failure) -> int:
    """Return the bytes of a request's images."""
    return request.images.nbytes if isinstance(request, ABOUT_IMAGES) else 0


def write_answer(outcome: Answer | Failure, facts: Mapping[str, object]) -> bytes:
    """Write one answer; `facts` go into every header."""
    if isinstance(outcome, Failure):
        return _blob({**facts, "status": outcome.status, "message": outcome.message}, {})
    return _blob({**facts, **outcome.facts, "status": "ok", "message": ""}, outcome.tensors)


def _generate(request: Mapping[str, Any], _: Item) -> Generate:
    seed = _whole(request, "seed", 0, 2**64 - 1)
    count = _whole(request, "count", 1, 2**31 - 1)
    return Generate(seed, _whole(request, "first_index", 0, 2**63 - count), count)


def _draw(request: Mapping[str, Any], _: Item) -> Draw:
    class_index, class_sample = (
        None if request.get(name) is None else _whole(request, name, 0, 2**63 - 1) for name in ("class", "class_sample")
    )
    drop = {layer: maps for layer, maps in _maps(request, "drop").items() if maps}
    return Draw(read_formulas(request), class_index, class_sample, drop, _maps(request, "keep"))


def _maps(request: Mapping[str, Any], name: str) -> dict[int, tuple[int, ...]]:
    """Return maps by layer, from `[[layer, [maps]], ...]`; none if missing."""
    found: dict[int, tuple[int, ...]] = {}
    for each in request.get(name, []):
        match each:
            case [int(layer), [*maps]] if layer not in found and all(type(one) is int and one >= 0 for one in maps):
                found[layer] = tuple(maps)
            case _:
                raise RequestError(f"{name} must be a list of [layer, [maps]], each layer once, not {each!r}")
    return found


def _tap(request: Mapping[str, Any], _: Item) -> Tap:
    places = request.get("places")
    try:
        found = np.array(places, dtype=np.int64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        raise RequestError("places must be a list of [latent, row, column]") from None
    if not len(found) or int(found.min()) < 0:
        raise RequestError("places must be a list of at least one [latent, row, column], each from 0")
    class_index = None if request.get("class") is None else _whole(request, "class", 0, 2**63 - 1)
    return Tap(read_formulas(request), _whole(request, "layer", 1, 2**31 - 1), found, class_index)


def _detect(request: Mapping[str, Any], item: Item) -> Detect:
    concepts = request.get("concepts")
    if not isinstance(concepts, list) or not all(isinstance(name, str) for name in concepts):
        raise RequestError("concepts must be a list of names")
    return Detect(_pixels(request, item), tuple(concepts), _flag(request, "features"))


def _activate(request: Mapping[str, Any], item: Item) -> Activate:
    units = request.get("units")
    if not isinstance(units, list) or not all(type(unit) is int and unit >= 0 for unit in units):
        raise RequestError("units must be a list of whole numbers from 0")
    return Activate(_pixels(request, item), _whole(request, "stage", 1, 2**31 - 1), tuple(units))


def _stimulate(request: Mapping[str, Any], _: Item) -> Stimulate:
    if request.get("sign") not in (-1, 1):
        raise RequestError(f"sign must be 1 or -1, not {request.get('sign')!r}")
    return Stimulate(
        stage=_whole(request, "stage", 1, 2**31 - 1),
        unit=_whole(request, "unit", 0, 2**31 - 1),
        sign=_whole(request, "sign", -1, 1),
        seed=_whole(request, "seed", 0, 2**64 - 1),
        steps=_whole(request, "steps", 1, MAX_STEPS),
    )


def _explain(request: Mapping[str, Any], item: Item) -> Explain:
    target = request.get("target")
    if not isinstance(target, dict) or len(target) > 1:
        raise RequestError("target must be an object that names a class, a unit or a map, or nothing")
    return Explain(_pixels(request, item), _target(target), _flag(request, "random"))


def _target(target: Mapping[str, Any]) -> int | NeuronTarget | MapTarget | None:
    if "class" in target:
        return _whole(target, "class", 0, 2**31 - 1)
    if "map" in target:
        return MapTarget(*_numbers(target, "map", 2))
    if "unit" in target:
        found = NeuronTarget(*_numbers(target, "unit", 3))
        if found.sign not in (-1, 1):
            raise RequestError(f"sign must be 1 or -1, not {found.sign}")
        return found
    if target:
        raise RequestError(f"target names {', '.join(target)}, none of class, unit and map")
    return None


def _numbers(request: Mapping[str, Any], name: str, count: int) -> list[int]:
    """Return a list of so many whole numbers."""
    value = request.get(name)
    if not isinstance(value, list) or len(value) != count or not all(type(each) is int for each in value):
        raise RequestError(f"{name} must be {count} whole numbers, not {value!r}")
    return value


def _invert(request: Mapping[str, Any], item: Item) -> Invert:
    """Read a request whose pixels are followed by the state of its starts, if it has one."""
    shape, content = _shape(request), memoryview(item.get("pixels", b""))
    image, state = content[: math.prod(shape)], content[math.prod(shape) :]
    starts = _whole(request, "starts", 1, 2**16)
    search = Invert(
        images=_pixels(request, {"pixels": image}),
        starts=starts,
        class_index=_whole(request, "class", 0, 2**31 - 1),
        pixels_only=_flag(request, "pixels_only"),
    )
    if not state:
        seed, first_start = _whole(request, "seed", 0, 2**64 - 1), _whole(request, "first_start", 0, 2**31 - 1)
        return replace(search, seed=seed, first_start=first_start)
    if len(state) % (12 * starts):
        raise RequestError(f"state must be three float32 numbers for each of a latent's, not {len(state)} bytes")
    steps = _whole(request, "steps", 1, MAX_STEPS)
    step = _whole(request, "step", 0, steps - 1)
    return replace(
        search,
        state=np.frombuffer(state, "<f4").astype(np.float32).reshape(3, starts, -1),
        step=step,
        count=_whole(request, "count", 1, steps - step),
        steps=steps,
    )


def _pixels(request: Mapping[str, Any], item: Item) -> NDArray[np.uint8]:
    """Return the images of a request, whose number of pixels must match its shape."""
    shape, pixels = _shape(request), item.get("pixels", b"")
    if len(pixels) != math.prod(shape):
        raise RequestError(f"pixels must be {math.prod(shape)} bytes for shape {shape}, not {len(pixels)}")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _shape(request: Mapping[str, Any]) -> list[int]:
    shape = request.get("shape")
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(size) is int and size > 0 for size in shape):
        raise RequestError(f"shape must be [n, height, width, channels], each at least 1, not {shape!r}")
    return shape


def _whole(request: Mapping[str, Any], name: str, minimum: int, maximum: int) -> int:
    value = request.get(name)
    if type(value) is not int or not minimum <= value <= maximum:
        raise RequestError(f"{name} must be a whole number from {minimum} to {maximum}, not {value!r}")
    return value


def _flag(request: Mapping[str, Any], name: str) -> bool:
    """Return an optional flag, false if missing."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false, not {value!r}")
    return value


def _blob(header: Mapping[str, object], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return save({"header": text, **{name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}})


_READERS: Mapping[str, Callable[[Mapping[str, Any], Item], Request]] = {
    Describe.op: lambda *_: Describe(),
    Canary.op: lambda *_: Canary(),
    Generate.op: _generate,
    Draw.op: _draw,
    Evaluate.op: lambda request, _: Evaluate(read_formulas(request)),
    Classify.op: lambda request, item: Classify(_pixels(request, item), _flag(request, "features")),
    Detect.op: _detect,
    Activate.op: _activate,
    Reconstruct.op: lambda request, item: Reconstruct(_pixels(request, item)),
    Stimulate.op: _stimulate,
    Tap.op: _tap,
    Explain.op: _explain,
    WeightDirections.op: lambda request, _: WeightDirections(_whole(request, "count", 1, 2**31 - 1)),
    Invert.op: _invert,
    Peaks.op: lambda request, item: Peaks(_pixels(request, item), _whole(request, "layer", 1, 2**31 - 1)),
}
