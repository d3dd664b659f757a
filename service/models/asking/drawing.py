"""What is to be drawn and what was, as `inference` takes and gives it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from mintage.latents import Path, part_count
from mintage.v1.latents_pb2 import Latent
from numpy.typing import NDArray

from service.backend.protocol import drawing_messages
from service.backend.protocol.drawing_messages import Directions, Maps
from service.errors import FieldViolation, InvalidArgument
from service.images.encode import File

_REFUSED = re.compile(r"latents\[([0-9]+)\] (.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class DrawnFiles:
    """Encoded images of latents in their order, their pixels uint8 [n, H, W, C], and the device class."""

    files: list[File]
    pixels: NDArray[np.uint8]
    device_class: str


@dataclass(frozen=True, slots=True)
class DrawnLatents:
    """What is to be drawn.

    Attributes:
        latents: The formulas, which are valid.
        directions: Those that they name.
        class_index: Class of all images; None: that of the first sample in each formula.
        class_sample: Index of the sample whose class all images have, if there is no `class_index`.
        drop: Feature maps of hidden layers that are set to 0.
        keep: Feature maps of hidden layers, all but which are set to 0.
    """

    latents: Sequence[Latent]
    directions: Directions
    class_index: int | None = None
    class_sample: int | None = None
    drop: Maps = field(default_factory=dict)
    keep: Maps = field(default_factory=dict)

    @property
    def part_counts(self) -> list[int]:
        """How many parts each formula has."""
        return list(map(part_count, self.latents))

    def place(self, number: int) -> str:
        """Return where the latent of a number is in the request of a caller."""
        return f"latents[{number}]"

    def request(self, start: int, stop: int) -> dict[str, bytes]:
        """Ask for some of them."""
        return drawing_messages.draw_request(
            self.latents[start:stop],
            self.directions,
            class_index=self.class_index,
            class_sample=self.class_sample,
            drop=self.drop,
            keep=self.keep,
        )


@dataclass(frozen=True, slots=True)
class DrawnWalk:
    """Frames of a walk that are to be drawn; `class_index` and `class_sample` as in DrawnLatents."""

    path: Path
    frames: range
    directions: Directions
    class_index: int | None
    class_sample: int | None

    @property
    def part_counts(self) -> list[int]:
        """How many parts the formula of each frame has, at most."""
        ends = list(map(part_count, self.path.through))
        legs = (frame // self.path.frames_per_leg for frame in self.frames)
        return [1 + ends[leg % len(ends)] + ends[(leg + 1) % len(ends)] for leg in legs]

    def place(self, _: int) -> str:
        """Return where what a frame is made of is in the request of a caller."""
        return "through"

    def request(self, start: int, stop: int) -> dict[str, bytes]:
        """Ask for some of them."""
        return drawing_messages.walk_request(
            self.path,
            self.frames[start:stop],
            self.directions,
            class_index=self.class_index,
            class_sample=self.class_sample,
        )


def placed(error: InvalidArgument, place: Callable[[int], str], start: int) -> InvalidArgument:
    """Name latents that a model refuses by their places in a caller's request, of which its call was a part."""
    found = []
    for violation in error.violations:
        match = _REFUSED.fullmatch(violation.description)
        found.append(FieldViolation(place(start + int(match[1])), match[2]) if match else violation)
    return InvalidArgument(found)
