"""TorchServe's failures told apart.

TorchServe 0.12 answers INTERNAL to an unknown model, a model without workers and a dead worker alike, and UNAVAILABLE
to a handler's exception. Here each becomes the error of `service.errors` that it really is.
"""

from __future__ import annotations

import grpc
import structlog

from service.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    MintageError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

# What a failed prediction's text shows, whatever its code says. RST_STREAM 8 answers a request that is too large; the
# last three are exceptions of a handler, which only repeat themselves.
_SIGNS: tuple[tuple[str, type[Unavailable | ResourceExhausted | Internal], str, str], ...] = (
    ("has no worker to serve", Unavailable, "model {} has no ready worker now", "NO_WORKER"),
    ("Worker died", Unavailable, "a worker of model {} died with this request", "WORKER_DIED"),
    ("Model not found", Unavailable, "model {} is not loaded now", "MODEL_NOT_LOADED"),
    ("Out of resources", ResourceExhausted, "model {} ran out of memory", "OUT_OF_MEMORY"),
    ("larger than max", Internal, "a message of model {} is too large", "MESSAGE_TOO_LARGE"),
    ("RST_STREAM with error code 8", Internal, "a request to model {} is too large", "MESSAGE_TOO_LARGE"),
    ("Prediction failed", Internal, "model {} failed", "MODEL_FAILED"),
    ("batch response mismatched", Internal, "model {} failed", "MODEL_FAILED"),
    ("predict output", Internal, "model {} failed", "MODEL_FAILED"),
)

log = structlog.get_logger(__name__)


def prediction_error(error: grpc.aio.AioRpcError, backend_name: str) -> MintageError:
    """Translate what a prediction ended with."""
    code, text = error.code(), _text(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"model {backend_name} did not answer in time")
    for sign, kind, message, reason in _SIGNS:
        if sign in text:
            return kind(message.format(backend_name), reason=reason)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("the model server does not answer")
    return Internal(f"model {backend_name} failed", reason="MODEL_FAILED")


def management_error(error: grpc.aio.AioRpcError, backend_name: str) -> MintageError:
    """Translate what a management call ended with."""
    code, text = error.code(), _text(error)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable("the model server does not answer")
    if "Model not found" in text or "Model version" in text or code is grpc.StatusCode.NOT_FOUND:
        return NotFound(f"no model {backend_name} is loaded", reason="MODEL_NOT_LOADED")
    if "Failed to start workers" in text:
        return FailedPrecondition(
            f"no worker of model {backend_name} could start; the model server's log says why",
            reason="MODEL_START_FAILED",
        )
    if "Failed to save model" in text:  # what it unpacks was read and found whole before
        message = f"the model server cannot unpack {backend_name}: its disk is full, or its folder cannot be written"
        return ResourceExhausted(message, reason="NO_SPACE", retry_after_s=10.0)
    log.error("the model server failed", backend=backend_name, code=code.name, text=text)
    if code is grpc.StatusCode.UNKNOWN:  # it caught no exception of its own
        return Unavailable("the model server failed at this; try again", reason="MODEL_SERVER_FAILED")
    message = "the model server refused a management call; the log of the API has its words"
    return Internal(message, reason="MODEL_SERVER_REFUSED")


def _text(error: grpc.aio.AioRpcError) -> str:
    return error.details() or ""
