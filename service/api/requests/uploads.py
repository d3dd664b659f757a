"""The images that a request carries, encoded or raw: checked, then decoded."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from mintage.v1 import classification_pb2
from numpy.typing import NDArray

from service.images import decode
from service.models.records import ModelRecord
from service.validation import Violations

ANSWER_OVERHEAD_BYTES = 4096  # of an answer without its images: names, digest, shape


class Upload(Protocol):
    """A request with images in one of two forms."""

    @property
    def encoded(self) -> classification_pb2.EncodedImages:
        """Whole image files."""

    @property
    def raw(self) -> classification_pb2.RawImages:
        """A block of raw pixels."""

    def WhichOneof(self, oneof_group: Literal["images"], /) -> Literal["encoded", "raw"] | None:
        """Which form it is."""


def check(request: Upload, max_images: int, violations: Violations) -> None:
    """Check what can be checked without the model."""
    match request.WhichOneof("images"):
        case "encoded":
            given = len(request.encoded.files)
            if not 1 <= given <= max_images:
                violations.add("encoded.files", f"must hold from 1 to {max_images:,} files, not {given:,}")
        case "raw":
            _check_raw(request.raw, max_images, violations)
        case _:
            violations.add("images", "must be given, as encoded or raw")


def check_fits(request: Upload, record: ModelRecord, violations: Violations) -> None:
    """Check that raw images have the model's size, and that image files can have its channels."""
    if request.WhichOneof("images") == "encoded":
        if record.channels not in decode.CHANNELS:
            violations.add("encoded", f"must be raw instead: the model's images have {record.channels} channels")
        return
    for side in ("height", "width", "channels"):
        given, expected = getattr(request.raw, side), getattr(record, side)
        if given != expected:
            violations.add(f"raw.{side}", f"must be the model's, {expected:,}, not {given:,}")


def count(request: Upload) -> int:
    """How many images there are."""
    return len(request.encoded.files) if request.WhichOneof("images") == "encoded" else request.raw.count


def check_answer(request: Upload, image_bytes: int, max_message_bytes: int, violations: Violations) -> None:
    """Note more images than one answer can hold, at image_bytes each."""
    largest, given = (max_message_bytes - ANSWER_OVERHEAD_BYTES) // image_bytes, count(request)
    if given > largest:
        field = "encoded.files" if request.WhichOneof("images") == "encoded" else "raw.count"
        violations.add(field, f"must be at most {largest:,} for the answer to fit in one message, not {given:,}")


def pixels(request: Upload, record: ModelRecord, max_pixels: int) -> NDArray[np.uint8]:
    """The images as uint8 [N, H, W, C].

    Raises:
        InvalidArgument: naming every file that is no image of the model's size.
    """
    if request.WhichOneof("images") == "raw":
        return np.frombuffer(request.raw.pixels, np.uint8).reshape(-1, record.height, record.width, record.channels)
    return decode.decode(
        request.encoded.files,
        height=record.height,
        width=record.width,
        channels=record.channels,
        max_pixels=max_pixels,
        field="encoded.files",
    )


def _check_raw(raw: classification_pb2.RawImages, max_images: int, violations: Violations) -> None:
    violations.in_range("raw.count", raw.count, 1, max_images)
    sides = {"height": raw.height, "width": raw.width, "channels": raw.channels}
    for side, value in sides.items():
        if value < 1:
            violations.add(f"raw.{side}", f"must be at least 1, not {value:,}")
    expected = raw.count * raw.height * raw.width * raw.channels
    if min(raw.count, *sides.values()) > 0 and len(raw.pixels) != expected:
        violations.add(
            "raw.pixels", f"must hold count * height * width * channels = {expected:,} bytes, not {len(raw.pixels):,}"
        )
