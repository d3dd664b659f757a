"""The encodings in which images leave: PNG, JPEG, raw."""

from __future__ import annotations

from mintage.v1 import generation_pb2

from service.images import decode, encode
from service.images.encode import Encoding
from service.models.registry import ModelRecord
from service.validation import Violations

IMAGE_OVERHEAD_BYTES = 16  # of protobuf around each image

Format = generation_pb2.ImageFormat


ENCODINGS: dict[Format.ValueType, Encoding] = {
    Format.IMAGE_FORMAT_PNG: encode.PNG,
    Format.IMAGE_FORMAT_JPEG: encode.JPEG,
    Format.IMAGE_FORMAT_RAW: encode.RAW,
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
