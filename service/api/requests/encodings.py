"""The encodings in which images leave: PNG, JPEG, raw."""

from __future__ import annotations

from mintage.v1 import generation_pb2

from service.api.requests.uploads import ANSWER_OVERHEAD_BYTES
from service.images import decode, encode
from service.images.encode import Encoding
from service.models.records import ModelRecord
from service.validation import Violations

IMAGE_OVERHEAD_BYTES = 16  # of protobuf around each image

Format = generation_pb2.ImageFormat
_UNSPECIFIED, _PNG, _JPEG, _RAW = (
    Format.Value(f"IMAGE_FORMAT_{name}") for name in ("UNSPECIFIED", "PNG", "JPEG", "RAW")
)  # looked up once: that takes longer than what is done with them

ENCODINGS: dict[Format.ValueType, Encoding] = {
    _PNG: encode.PNG,
    _JPEG: encode.JPEG,
    _RAW: encode.RAW,
}


def check_known(requested: Format.ValueType, violations: Violations) -> None:
    """Note `format` unless it exists or is unset, which means PNG."""
    if requested != _UNSPECIFIED and requested not in ENCODINGS:
        known = ", ".join(Format.Name(value) for value in ENCODINGS)
        violations.add("format", f"must be one of {known}, not {requested}")


def chosen(requested: Format.ValueType, record: ModelRecord, violations: Violations) -> Format.ValueType:
    """Return the format of an answer; note it where the model's images are neither grey nor RGB."""
    found = requested or _PNG
    if found != _RAW and record.channels not in decode.CHANNELS:
        violations.add("format", f"must be IMAGE_FORMAT_RAW: the model's images have {record.channels} channels")
    return found


def fitting(requested: Format.ValueType, record: ModelRecord, max_message_bytes: int) -> tuple[Format.ValueType, int]:
    """Return the format of an answer, and how many images in it fit in one message, at least 1.

    Raises:
        InvalidArgument: if the model's images cannot have the format, or none fits.
    """
    violations = Violations()
    found = chosen(requested, record, violations)
    violations.check()
    largest = (max_message_bytes - ANSWER_OVERHEAD_BYTES) // max_bytes(ENCODINGS[found], record)
    if not largest:
        violations.add("format", "must be one in which an image of this model fits in one message")
    violations.check()
    return found, largest


def check_fits(field: str, count: int, largest: int) -> None:
    """Refuse more images than fit in one message.

    Raises:
        InvalidArgument: naming the field that says how many.
    """
    violations = Violations()
    if count > largest:
        violations.add(field, f"must be at most {largest:,} for the answer to fit in one message, not {count:,}")
    violations.check()


def max_bytes(encoding: Encoding, record: ModelRecord) -> int:
    """Upper bound of the bytes of one of a model's images in an answer."""
    return encoding.max_bytes(record.height, record.width, record.channels) + IMAGE_OVERHEAD_BYTES


def shape_of(record: ModelRecord) -> generation_pb2.ImageShape:
    """Say the size of a model's images."""
    return generation_pb2.ImageShape(height=record.height, width=record.width, channels=record.channels)
