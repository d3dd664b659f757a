"""Every error that may leave the service, each with its gRPC code.

    MintageError
    ├── InvalidArgument      the request is wrong; names every wrong field
    ├── NotFound             no such model, job, archive
    ├── AlreadyExists        the request id or the output prefix is taken
    ├── FailedPrecondition   well-formed request, wrong state or wrong kind of thing
    ├── ResourceExhausted    too much at once; says when to try again
    ├── TooLarge             a request is larger than its method takes
    ├── QuotaExceeded        a client's quota is used up; says when to try again, where waiting helps
    ├── Unavailable          a part does not answer now; says when to try again
    ├── DeadlineExceeded     the caller's deadline passed
    ├── Cancelled            the caller went away
    ├── Unimplemented        a standard service has the call, this server does not
    └── Internal             our fault; the text reveals no internals

Only `service.api.outcomes` turns them into status codes. Any other exception becomes Internal with an id; its
traceback goes to the log alone.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc

DOMAIN = "mintage"
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # of an OSError: a full disk, or a quota that is used up


class MintageError(Exception):
    """Raised when a call cannot be answered; each subclass names its gRPC code and a stable reason."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        """Keep what the caller may see.

        Args:
            message: For people: what was wrong, what was expected, what to do.
            reason: UPPER_SNAKE_CASE, at most 63 characters; default is the class's own.
            metadata: Names and values for machines, in `google.rpc.ErrorInfo`.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.metadata = dict(metadata or {})


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request and what is wrong with it."""

    field: str
    description: str


class InvalidArgument(MintageError):
    """Raised when fields of a request are wrong, whatever the state of the service."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELDS"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        """Name every wrong field in the message and in the details."""
        super().__init__("; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in violations))
        self.violations = tuple(violations)


class NotFound(MintageError):
    """Raised when a named thing does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(MintageError):
    """Raised when a name or request id is taken by something else."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(MintageError):
    """Raised when the request is well formed, but what it names is in the wrong state or of the wrong kind."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class _Retryable(MintageError):
    """Raised when the same call may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, reason: str | None = None) -> None:
        """Keep when to try again, in seconds."""
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class ResourceExhausted(_Retryable):
    """Raised when a limit on work, memory or disk is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class TooLarge(MintageError):
    """Raised when a request is larger than its method takes; gRPC itself has the same code for one that it refuses."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "MESSAGE_TOO_LARGE"


class QuotaExceeded(MintageError):
    """Raised when a quota of the client is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, *, retry_after_s: float | None, metadata: Mapping[str, str]) -> None:
        """Keep when to try again, in seconds; None where waiting alone does not help."""
        super().__init__(message, metadata=metadata)
        self.retry_after_s = retry_after_s


class Unavailable(_Retryable):
    """Raised when a part of the service does not answer now."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(MintageError):
    """Raised when the caller's deadline passes before the answer."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Cancelled(MintageError):
    """Raised when the caller has gone away."""

    code = grpc.StatusCode.CANCELLED
    reason = "CANCELLED"


class Unimplemented(MintageError):
    """Raised when a call of a standard service is one that this server does not have."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Internal(MintageError):
    """Raised when the fault is ours; the message reveals no internals."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"
