"""Every error that the client raises.

ClientError
├── InputError           an argument is wrong; nothing was sent
├── Damaged              what came is not what its digest says
└── ApiError             the server answered with an error, or did not answer
    ├── InvalidRequest   fields are wrong; `violations` names each
    ├── NotFound         no such model, job or archive
    ├── AlreadyExists    the request id or the output prefix is taken
    ├── NotPossible      right request, wrong moment or wrong kind of thing
    ├── Overloaded       too much at once; `retry_after_s` says when to try again
    ├── TooLarge         a message is larger than the server, or this client, takes
    ├── Unavailable      the server, or a part behind it, does not answer now
    ├── TimedOut         the deadline passed first
    └── Cancelled        the call was cancelled
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"


class ClientError(Exception):
    """Raised when a call of the client fails; the root of the tree."""


class InputError(ClientError, ValueError):
    """Raised when an argument is wrong before anything is sent."""


class Damaged(ClientError):
    """Raised when bytes that came are not those whose digest was announced."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path in the request and what is wrong with it."""

    field: str
    description: str


class ApiError(ClientError):
    """Raised when the server answers with an error, or cannot be reached.

    Attributes:
        message: For people.
        code: The gRPC status.
        reason: Stable UPPER_SNAKE_CASE name of the error; empty if it did not come from a Mintage server.
        violations: The wrong fields.
        metadata: Names and values for machines.
        retry_after_s: When the server says to try again, in seconds.
        request_id: The server's name of this call, to find it in the log.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        violations: tuple[Violation, ...] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        """Keep what the server said."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.violations = violations
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InvalidRequest(ApiError):
    """Raised when fields of the request are wrong."""


class NotFound(ApiError):
    """Raised when the server knows nothing of that name."""


class AlreadyExists(ApiError):
    """Raised when a request id or an output prefix is taken by something else."""


class NotPossible(ApiError):
    """Raised when the thing named is not in the state, or of the kind, that the call needs."""


class Overloaded(ApiError):
    """Raised when the server has too much to do."""


class TooLarge(ApiError):
    """Raised when a request or an answer is larger than the server or the client takes: ask for less at once."""


class Unavailable(ApiError):
    """Raised when the server, or a part behind it, does not answer now."""


class TimedOut(ApiError):
    """Raised when the deadline passes before the answer."""


class Cancelled(ApiError):
    """Raised when the call was cancelled."""


_BY_CODE: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: NotPossible,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.CANCELLED: Cancelled,
}


# gRPC's own words: for a message that is too large, at either end, and for a connection that ended under a call.
_SIZES = re.compile(r"(CLIENT|SERVER): (Sent|Received) message larger than max \(([0-9]+) vs\. ([0-9]+)\)")
_VERBS = {"Sent": "sends", "Received": "takes"}
_CUT_OFF = re.compile(
    r"(?!failed to connect).*(Socket closed|reset by peer|Broken pipe|Stream removed|GOAWAY|(watchdog|ping) timeout)",
    re.DOTALL,
)


@runtime_checkable
class FailedCall(Protocol):
    """What both grpc.RpcError (sync) and grpc.aio.AioRpcError say of a failed call."""

    def code(self) -> grpc.StatusCode:
        """Status of the call."""

    def details(self) -> str | None:
        """Text of the status."""

    def trailing_metadata(self) -> object:
        """Pairs of key and value."""


def from_rpc(error: FailedCall, *, hint: str = "") -> ApiError:
    """Read a failed call into the error of its code, with every detail that the server gave.

    Args:
        error: The call's.
        hint: What to add where no server answered.
    """
    trailers = _trailers(error)
    status = status_pb2.Status()
    details = trailers.get(DETAILS_KEY, b"")
    if isinstance(details, bytes):
        status.MergeFromString(details)
    if _was_dropped(error, status):
        return Unavailable("the server dropped the call: it shuts down", code=grpc.StatusCode.UNAVAILABLE)
    code = error.code()
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    bad = error_details_pb2.BadRequest()
    found = {type(known): True for known in (info, retry, bad) for any_ in status.details if any_.Unpack(known)}
    request_id = trailers.get(REQUEST_ID_KEY, "")
    text = error.details() or code.name.lower().replace("_", " ")
    refused = None if info.reason else _SIZES.search(text)  # by gRPC, there or here
    too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and (refused or info.reason == "MESSAGE_TOO_LARGE")
    if refused is not None:
        text = _too_large(refused)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not info.reason:
        text = "no answer came within the time limit, and the server may still do what was asked"
    if code is grpc.StatusCode.UNAVAILABLE and not info.reason:
        text = (_cut_off(text) if _CUT_OFF.match(text) else text) + hint
    return (TooLarge if too_large else _BY_CODE.get(code, ApiError))(
        text,
        code=code,
        reason=info.reason,
        violations=tuple(Violation(v.field, v.description) for v in bad.field_violations),
        metadata=info.metadata,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if type(retry) in found else None,
        request_id=request_id if isinstance(request_id, str) else "",
    )


def from_code(number: int, message: str, *, reason: str = "") -> ApiError:
    """Make the error of a gRPC code, given as a number."""
    code = next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
    return _BY_CODE.get(code, ApiError)(message, code=code, reason=reason)


def _too_large(sizes: re.Match[str]) -> str:
    """What to tell of a message that gRPC refused, at this end or at the server's."""
    here, size, most = sizes[1] == "CLIENT", int(sizes[3]), int(sizes[4])
    who = "this client" if here else "the server"
    limit = f"{most:,} bytes at most" + ("" if here else " (MINTAGE_MAX_MESSAGE_BYTES)")
    if here == (sizes[2] == "Sent"):
        return f"the request has {size:,} bytes, and {who} {_VERBS[sizes[2]]} {limit}: send less at once"
    return f"the answer has {size:,} bytes, and {who} {_VERBS[sizes[2]]} {limit}: ask for less at once"


def _cut_off(text: str) -> str:
    """What to tell of a connection that was closed while a call waited for its answer."""
    what = "the connection ended before the answer came; the server may have done what was asked all the same"
    return f"{what}: see whether it runs (`mintage health`), then ask again ({text})"


def _was_dropped(error: FailedCall, status: status_pb2.Status) -> bool:
    """Whether a server that shuts down reset a call that it had not begun: gRPC makes that a CANCELLED without a word.

    A call that was cancelled on this side, or whose channel was closed, has a text that says so.
    """
    return error.code() is grpc.StatusCode.CANCELLED and error.details() in ("", "CANCELLED") and not status.code


def _trailers(error: FailedCall) -> dict[str, str | bytes]:
    pairs = error.trailing_metadata()
    return dict(pairs) if pairs is not None else {}  # type: ignore[call-overload]
