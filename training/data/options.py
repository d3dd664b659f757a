"""How the images of a source are made ready."""

from __future__ import annotations

from dataclasses import dataclass

from training.errors import DataError

MAX_SIDE = 4096
HANDFUL = 5
MAX_SKIPPED = 10_000  # names of damaged images are kept in memory
MAX_JPEG_QUALITY = 95  # above it files grow and images hardly change, says Pillow


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `load` was asked for.

    Attributes:
        size: (H, W) that every image is cropped and resized to; None leaves them as they are, and they must agree.
        channels: 1 for grey, 3 for colour; None takes grey if all images are grey, and colour otherwise.
        limit: at most so many images.
        max_damaged: at most so many damaged images are skipped; None allows 0.1 % of all or five, whichever is more,
            yet never more than a tenth.
        jpeg_quality: 1 to 95: every image, once it has its size, is written as a JPEG of that quality and read again,
            so that images of several sources have one history of compression; None leaves them as they are.

    Raises:
        DataError: if a value is out of range.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    limit: int | None = None
    max_damaged: int | None = None
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not (len(self.size) == 2 and all(1 <= side <= MAX_SIDE for side in self.size)):
            raise DataError(f"size={self.size} must be (height, width), each from 1 to {MAX_SIDE} pixels")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels={self.channels} must be 1 (grey) or 3 (colour)")
        if self.limit is not None and self.limit < 1:
            raise DataError(f"limit={self.limit} must be at least 1 image")
        if self.max_damaged is not None and not 0 <= self.max_damaged <= MAX_SKIPPED:
            raise DataError(f"max_damaged={self.max_damaged} must lie from 0 to {MAX_SKIPPED}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= MAX_JPEG_QUALITY:
            raise DataError(f"jpeg_quality={self.jpeg_quality} must lie from 1 to {MAX_JPEG_QUALITY}")

    def allowed_damage(self, count: int) -> int:
        """Return how many of `count` images may be damaged."""
        if self.max_damaged is not None:
            return self.max_damaged
        return min(max(HANDFUL, count // 1000), count // 10, MAX_SKIPPED)
