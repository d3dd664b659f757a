"""The names of scores: the well-known names stand for one network and one file of weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreNames:
    """Names of the scores that depend on the extractor; by default those of the formulas."""

    classifier: str = "classifier score"
    frechet: str = "Frechet distance"
    kernel: str = "kernel distance"


FORMULAS = ScoreNames()
INCEPTION = ScoreNames(classifier="Inception score", frechet="FID", kernel="KID")
