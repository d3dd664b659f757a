"""The conditions of a measurement. Values are comparable only if all of them agree."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS_OF_A_DIGEST = 12  # digits printed; the dataclass holds all


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions of a score; the score adds its numbers of images.

    Attributes:
        extractor: sha256 of the weights whose features were compared; empty if pixels were.
        reference: the real images, data and split, such as "digits test"; empty if unknown.
        images: how the images of both sides were treated before, such as "64x64, colour, JPEG quality 75"; empty if
            unknown.
        resize: how images were resized to the extractor's size, "none" if they were not.
    """

    extractor: str = ""
    reference: str = ""
    images: str = ""
    resize: str = "none"

    def __str__(self) -> str:
        parts = [f"reference {self.reference}"] if self.reference else []
        parts += [f"extractor {self.extractor[:DIGITS_OF_A_DIGEST]}"] if self.extractor else []
        parts += [f"images {self.images}"] if self.images else []
        return ", ".join([*parts, f"resize {self.resize}"])
