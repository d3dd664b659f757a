"""Every error that handlers and packing raise on purpose.

HandlerError
├── ArchiveError      a run cannot be packed
├── ModelError        an archive is unfit to be served
├── RequestError      one request is wrong; its sender may see the text
└── NotFiniteError    a network's output holds NaN or infinity
"""

from __future__ import annotations


class HandlerError(Exception):
    """Raised when packing or serving a model fails for a reason that the text can name."""


class ArchiveError(HandlerError):
    """Raised when a run folder cannot be packed into an archive."""


class ModelError(HandlerError):
    """Raised when an archive's files are missing, damaged, or do not fit each other."""


class RequestError(HandlerError):
    """Raised when one request is wrong; the text names what was expected."""


class NotFiniteError(HandlerError):
    """Raised when a network's output holds a number that is not finite."""
