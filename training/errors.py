"""The errors of this package, one tree.

TrainingError
├── RecipeError
├── DataError
├── RunError
├── DivergedError
└── ScoreError

A message says what was wrong, what was expected and what to do, in one line that a command can print as it is.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Raised when training, or reading what it needs or wrote, cannot go on; the root of the tree."""


class RecipeError(TrainingError):
    """Raised when a recipe or one of its fields is unknown, or a value has the wrong type or range."""


class DataError(TrainingError):
    """Raised when images or labels are missing, damaged or do not fit the recipe."""


class RunError(TrainingError):
    """Raised when a run folder is missing, damaged, or belongs to another recipe than the one asked for."""


class DivergedError(TrainingError):
    """Raised when a loss is no longer a finite number; the last good checkpoint stays as it was."""


class ScoreError(TrainingError, ValueError):
    """Raised when the input of a score is not what its formula is defined for."""
