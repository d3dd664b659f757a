"""A model's answer, decoded and checked: nothing in it is trusted. `messages` says what the answers mean.

TorchServe drops status codes over gRPC, so each answer is one safetensors blob whose `header` says how the item fared:

    ok        the header and the tensors hold the answer
    invalid   the request is wrong; the message says why             -> InvalidArgument
    error     the model failed on this item; the details are logged  -> Internal
    refused   the archive itself is unfit, nothing was loaded        -> FailedPrecondition
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from service.errors import FailedPrecondition, FieldViolation, Internal, InvalidArgument

_SIZE = struct.Struct("<Q")  # of the description with which a safetensors blob begins
_LAYOUTS = 256  # that are remembered: an answer to as many images of one model has the same, and so has its header


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies in a blob, and what it is."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    count: int
    offset: int


_layouts: dict[tuple[bytes, int], tuple[_Place, ...]] = {}


def opened(answer: bytes) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Take an answer apart into its header, whose status is `ok`, and its tensors.

    Raises:
        InvalidArgument: if the model says that the request is wrong.
        Internal: if the answer is damaged or says `error`.
        FailedPrecondition: if the model was refused at load.
    """
    try:
        tensors = _tensors(answer)
        header = _header(tensors["header"].tobytes())
        status = header["status"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise damaged(f"no safetensors with a header ({error!r})") from None
    if status != "ok":
        raise _failure(str(status), str(header.get("message", "")))
    return header, tensors


def _tensors(answer: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of a blob; one that is described in the same words as an earlier one is not checked again."""
    description = answer[: _SIZE.size + _SIZE.unpack_from(answer)[0]] if len(answer) > _SIZE.size else b""
    places = _layouts.get((description, len(answer)))
    if places is not None:
        return {
            each.name: np.frombuffer(answer, each.dtype, each.count, each.offset).reshape(each.shape) for each in places
        }
    tensors = load(answer)
    if len(_layouts) >= _LAYOUTS:
        _layouts.clear()
    _layouts[description, len(answer)] = _places(description, tensors)
    return tensors


def _places(description: bytes, tensors: Mapping[str, NDArray[Any]]) -> tuple[_Place, ...]:
    """Return where the tensors of a blob lie, which is sound."""
    written = json.loads(description[_SIZE.size :])
    return tuple(
        _Place(name, found.dtype, found.shape, found.size, len(description) + written[name]["data_offsets"][0])
        for name, found in tensors.items()
    )


@functools.lru_cache(maxsize=_LAYOUTS)
def _header(text: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(text)
    return found


def damaged(what: str) -> Internal:
    """Return the error for an answer that is not what it should be."""
    return Internal(f"the model's answer is damaged: {what}", reason="MODEL_ANSWER_DAMAGED")


def tensor(
    tensors: Mapping[str, NDArray[Any]], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return one tensor of exactly this type and shape."""
    found = tensors.get(name)
    if found is None:
        raise damaged(f"it lacks {name}")
    if found.dtype != dtype or found.shape != shape:
        raise damaged(f"{name} is {found.dtype} {list(found.shape)}, not {dtype} {list(shape)}")
    return found


def pixels(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return one tensor of uint8."""
    return tensor(tensors, name, np.dtype(np.uint8), shape)


def numbers(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return one float32 tensor of finite numbers."""
    found = tensor(tensors, name, np.dtype(np.float32), shape)
    if not bool(np.isfinite(found).all()):
        raise damaged(f"{name} holds a number that is not finite")
    return found


def probabilities(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return one float32 tensor whose numbers all lie from 0 to 1, which NaN does not."""
    found = tensor(tensors, name, np.dtype(np.float32), shape)
    if not bool(((found >= 0) & (found <= 1)).all()):
        raise damaged(f"{name} holds a number outside 0 to 1")
    return found


def whole(values: Mapping[str, Any], name: str, *, minimum: int) -> int:
    """Return a whole number of a header."""
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise damaged(f"{name} is {value!r}, not a whole number from {minimum}")
    return value


def wholes(values: Mapping[str, Any], name: str, *, minimum: int) -> tuple[int, ...]:
    """Return a list of whole numbers of a header."""
    value = values.get(name)
    if not isinstance(value, list):
        raise damaged(f"{name} is not a list of whole numbers")
    return tuple(whole({name: each}, name, minimum=minimum) for each in value)


def real(values: Mapping[str, Any], name: str) -> float:
    """Return a finite number of a header."""
    value = values.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise damaged(f"{name} is {value!r}, not a number")
    return float(value)


def text(values: Mapping[str, Any], name: str) -> str:
    """Return a text of a header that is not empty."""
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise damaged(f"{name} is {value!r}, not a text")
    return value


def texts(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts of a header."""
    value = values.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise damaged(f"{name} is not a list of texts")
    return tuple(value)


def _failure(status: str, message: str) -> Exception:
    """Return the error for a status other than `ok`."""
    if status == "invalid":
        return InvalidArgument([FieldViolation("request", message)])
    if status == "refused":
        return FailedPrecondition(message, reason="MODEL_REFUSED")
    return Internal(f"the model failed: {message}" if message else "the model failed", reason="MODEL_FAILED")
