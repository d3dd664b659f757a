"""TorchServe's failures told apart.

TorchServe 0.12 answers INTERNAL to an unknown model, a model without workers and a dead worker alike, and UNAVAILABLE
to a handler's exception. Here each becomes the error of `service.errors` that it really is.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable

import grpc
import structlog

from service.backend.model_server import silence
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

# The same of management calls. What is unpacked was read and found whole before, so only the disk can be to blame.
_exhausted = functools.partial(ResourceExhausted, retry_after_s=10.0)  # room may be made until then
_REFUSALS: tuple[tuple[tuple[str, ...], Callable[..., MintageError], str, str], ...] = (
    (
        ("Failed to start workers", "Error while creating workers"),
        FailedPrecondition,
        "no worker of model {} could start; the model server's log says why",
        "MODEL_START_FAILED",
    ),
    (
        ("Failed to save model", "No space left on device"),
        _exhausted,
        "the model server cannot unpack {}: its disk is full, or its folder cannot be written",
        "NO_SPACE",
    ),
    (
        ("Out of resources", "OutOfMemoryError"),
        _exhausted,
        "the model server has no memory left for {}",
        "OUT_OF_MEMORY",
    ),
    (
        ("Model API disabled", "Token Auth"),
        FailedPrecondition,
        "the model server lets nobody load {}: start it by `mintage serve torchserve`",
        "MODEL_SERVER_FOREIGN",
    ),
    (
        ("while cleaning resources", "Model file already exists"),
        Unavailable,
        "the model server has not cleared away {} yet",
        "MODEL_SERVER_FAILED",
    ),
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
        return silence()
    return Internal(f"model {backend_name} failed", reason="MODEL_FAILED")


def management_error(error: grpc.aio.AioRpcError, backend_name: str) -> MintageError:
    """Translate what a management call ended with; what is unknown goes to the log, under an id."""
    code, text = error.code(), _text(error)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return silence()
    if "Model not found" in text or "Model version" in text or code is grpc.StatusCode.NOT_FOUND:
        return NotFound(f"no model {backend_name} is loaded", reason="MODEL_NOT_LOADED")
    for signs, kind, message, reason in _REFUSALS:
        if any(sign in text for sign in signs):
            log.warning("the model server refused", backend=backend_name, code=code.name, text=text)
            return kind(message.format(backend_name), reason=reason)
    error_id = secrets.token_hex(8)
    log.error("the model server failed", backend=backend_name, code=code.name, text=text, error_id=error_id)
    if code is grpc.StatusCode.UNKNOWN:  # it caught no exception of its own
        message = f"the model server failed at this, id={error_id}; try again"
        return Unavailable(message, reason="MODEL_SERVER_FAILED")
    message = f"the model server refused a management call, id={error_id}; the log of the API has its words"
    return Internal(message, reason="MODEL_SERVER_REFUSED", metadata={"id": error_id})


def _text(error: grpc.aio.AioRpcError) -> str:
    return error.details() or ""
