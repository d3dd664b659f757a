"""The errors of this package, one tree.

TrainingError
├── RecipeError
├── DataError
├── RunError
├── DivergedError
└── ScoreError

A message is one line that a command can print: what was wrong, what was expected and what to do.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Raised when training, or reading its input or output, fails; the root of the tree."""


class RecipeError(TrainingError):
    """Raised when a recipe or one of its fields is unknown, or a value has the wrong type or range."""


class DataError(TrainingError):
    """Raised when images or labels are missing, damaged or do not fit the recipe."""


class RunError(TrainingError):
    """Raised when a run folder is missing, damaged, or belongs to a different recipe."""


class DivergedError(TrainingError):
    """Raised when a loss is no longer a finite number; the last good checkpoint stays as it was."""


class ScoreError(TrainingError, ValueError):
    """Raised when a score's formula is not defined for its input."""
