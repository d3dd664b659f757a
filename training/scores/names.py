"""What scores may be called: the well-known names belong to one network and one file of its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreNames:
    """Names of the scores that depend on the extractor; by default those of the formulas alone."""

    classifier: str = "classifier score"
    frechet: str = "Frechet distance"
    kernel: str = "kernel distance"


FORMULAS = ScoreNames()
INCEPTION = ScoreNames(classifier="Inception score", frechet="FID", kernel="KID")
