"""What a score was measured under. Two values can be compared only where all of this agrees."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS_OF_A_DIGEST = 12  # that are printed; the dataclass holds all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What belongs beside a score; the score itself adds how many images there were.

    Attributes:
        extractor: sha256 of the weights whose features were compared; empty where pixels were.
        reference: the real images, data and split, such as "digits test"; empty if unknown.
        resize: how images were brought to the extractor's size, "none" if they have it.
    """

    extractor: str = ""
    reference: str = ""
    resize: str = "none"

    def __str__(self) -> str:
        parts = [f"reference {self.reference}"] if self.reference else []
        parts += [f"extractor {self.extractor[:DIGITS_OF_A_DIGEST]}"] if self.extractor else []
        return ", ".join([*parts, f"resize {self.resize}"])
