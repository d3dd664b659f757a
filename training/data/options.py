"""Options of loading images."""

from __future__ import annotations

from dataclasses import dataclass

from training.errors import DataError

MAX_SIDE = 4096  # px, of a resized image: 50 MB in colour
HANDFUL = 5  # damaged images that a small source may have
MAX_SKIPPED = 10_000  # limit; names of damaged images are kept in memory
MAX_JPEG_QUALITY = 95  # Pillow's documentation advises against more: larger files, hardly better images


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `load`.

    Attributes:
        size: (H, W) that images are cropped and resized to; None keeps their size, which must be the same.
        channels: 1 for grey, 3 for colour; None is grey if all images are grey, else colour.
        limit: largest number of images.
        max_damaged: largest number of damaged images to skip; None is the larger of 0.1 % and five, at most a tenth.
        jpeg_quality: 1 to 95; each resized image is compressed as JPEG of that quality and decoded, so that images of
            several sources share one history of compression; None for no compression.

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
            raise DataError(f"--size {'x'.join(map(str, self.size))} must be H x W, each from 1 to {MAX_SIDE} pixels")
        if self.channels not in (None, 1, 3):
            raise DataError(f"--channels {self.channels} must be 1 (grey) or 3 (colour)")
        if self.limit is not None and self.limit < 1:
            raise DataError(f"--limit {self.limit} must be at least 1 image")
        if self.max_damaged is not None and not 0 <= self.max_damaged <= MAX_SKIPPED:
            raise DataError(f"--max-damaged {self.max_damaged} must lie from 0 to {MAX_SKIPPED}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= MAX_JPEG_QUALITY:
            raise DataError(f"--jpeg {self.jpeg_quality} must lie from 1 to {MAX_JPEG_QUALITY}")

    def allowed_damage(self, count: int) -> int:
        """Return how many of `count` images may be damaged."""
        if self.max_damaged is not None:
            return self.max_damaged
        return min(max(HANDFUL, count // 1000), count // 10, MAX_SKIPPED)
