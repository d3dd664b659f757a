"""The encodings in which images leave: PNG, JPEG, raw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mintage.v1 import generation_pb2
from numpy.typing import NDArray

from service.images import decode, encode
from service.models.registry import ModelRecord
from service.validation import Violations

IMAGE_OVERHEAD_BYTES = 16  # of protobuf around each image

Format = generation_pb2.ImageFormat


@dataclass(frozen=True, slots=True)
class Encoding:
    """How images [N, H, W, C] are encoded, and the most bytes of one of (height, width, channels)."""

    encode: Callable[[NDArray[np.uint8]], list[bytes]]
    max_bytes: Callable[[int, int, int], int]


ENCODINGS: dict[Format.ValueType, Encoding] = {
    Format.IMAGE_FORMAT_PNG: Encoding(encode.encode_png, encode.max_png_bytes),
    Format.IMAGE_FORMAT_JPEG: Encoding(encode.encode_jpeg, encode.max_jpeg_bytes),
    Format.IMAGE_FORMAT_RAW: Encoding(encode.encode_raw, encode.max_raw_bytes),
}


def check_known(requested: Format.ValueType, violations: Violations) -> None:
    """Note `format` unless it exists or is unset, which means PNG."""
    if requested not in (Format.IMAGE_FORMAT_UNSPECIFIED, *ENCODINGS):
        known = ", ".join(Format.Name(value) for value in ENCODINGS)
        violations.add("format", f"must be one of {known}, not {requested}")


def chosen(requested: Format.ValueType, record: ModelRecord, violations: Violations) -> Format.ValueType:
    """Return the format of an answer; note it where the model's images are neither grey nor RGB."""
    found = requested or Format.IMAGE_FORMAT_PNG
    if found != Format.IMAGE_FORMAT_RAW and record.channels not in decode.CHANNELS:
        violations.add("format", f"must be IMAGE_FORMAT_RAW: the model's images have {record.channels} channels")
    return found


def max_bytes(encoding: Encoding, record: ModelRecord) -> int:
    """Upper bound of the bytes of one of a model's images in an answer."""
    return encoding.max_bytes(record.height, record.width, record.channels) + IMAGE_OVERHEAD_BYTES


def shape_of(record: ModelRecord) -> generation_pb2.ImageShape:
    """Say the size of a model's images."""
    return generation_pb2.ImageShape(height=record.height, width=record.width, channels=record.channels)
