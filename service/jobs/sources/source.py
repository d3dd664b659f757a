"""What every source offers: the next images of a shard, and what was read for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.jobs.shards.formats.scores import SourceStats


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels uint8 [n, H, W, C], and readable bool [n]: an image that cannot be read is black."""

    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]

    @classmethod
    def all_readable(cls, pixels: NDArray[np.uint8]) -> Images:
        """Images of which none is missing."""
        return cls(pixels, np.ones(len(pixels), np.bool_))


class Source(Protocol):
    """The images of one shard."""

    def read(self, indices: range) -> Images:
        """Return images; what is asked for next must lie behind what was read before.

        Raises:
            OutputError: if the source is not what the plan says.
        """

    def read_so_far(self) -> SourceStats | None:
        """Return what was read of a folder; None for a job, whose marker says it."""
