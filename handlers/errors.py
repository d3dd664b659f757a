"""The errors of handlers and packing, one tree.

HandlerError
├── ArchiveError      a run cannot be packed
├── ModelError        an archive is unfit to be served
├── RequestError      one request is invalid; its sender sees the text
└── NotFiniteError    a network's output holds NaN or infinity
"""

from __future__ import annotations


class HandlerError(Exception):
    """Raised when packing or serving a model fails for a known reason; the root of the tree."""


class ArchiveError(HandlerError):
    """Raised when a run folder cannot be packed into an archive."""


class ModelError(HandlerError):
    """Raised when an archive's files are missing, damaged, or do not fit each other."""


class RequestError(HandlerError):
    """Raised when one request is invalid; the text says what was expected."""


class NotFiniteError(HandlerError):
    """Raised when a network's output holds a number that is not finite."""
