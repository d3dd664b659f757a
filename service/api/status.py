"""An error as a gRPC status with `google.rpc` details, small enough for the trailers of every client."""

from __future__ import annotations

from typing import Any, NoReturn

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service.errors import DOMAIN, FieldViolation, InvalidArgument, MintageError

# A client takes 8 KiB of trailers by default; they hold the text twice and the details in base64.
MAX_TEXT_CHARACTERS = 1000
MAX_VIOLATION_BYTES = 2500


async def abort(context: Any, error: MintageError, trailers: tuple[tuple[str, str], ...]) -> NoReturn:
    """End a call with an error; `trailers` go with it."""
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, (*status.trailing_metadata, *trailers))
    raise AssertionError("abort always raises")


def status_of(error: MintageError) -> status_pb2.Status:
    """The status of an error: ErrorInfo always, BadRequest for wrong fields, RetryInfo where a retry may help."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details: list[Message] = [info]
    if isinstance(error, InvalidArgument):
        details.append(_bad_request(error))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=error.code.value[0], message=_short(error.message), details=map(_packed, details))


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    """Every wrong field, or as many as fit and how many more there are."""
    bad = error_details_pb2.BadRequest()
    for index, violation in enumerate(error.violations):
        if bad.ByteSize() > MAX_VIOLATION_BYTES:
            left = len(error.violations) - index
            bad.field_violations.append(_violation(FieldViolation("", f"{left} more fields are wrong")))
            break
        bad.field_violations.append(_violation(violation))
    return bad


def _violation(violation: FieldViolation) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_short(violation.field), description=_short(violation.description)
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 3] + "..."


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
