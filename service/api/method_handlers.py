"""gRPC's handlers of methods, changed: they parse requests within bounds, and pass answers that are bytes already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.api import bounds
from service.api.requests.clients import check_client
from service.errors import FieldViolation, InvalidArgument

Read = Callable[[Any, Any], Any]  # makes a request of the bytes that came and the call's context


def method_handler(handler: Any, behaviour: Callable[..., Any]) -> Any:
    """As `handler`, but with another behaviour, which parses a single request itself, so that we name its faults."""
    shape = "stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary"
    make = getattr(grpc, "{}_{}_rpc_method_handler".format(*shape))
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer if handler.request_streaming else None,
        response_serializer=_serializer(handler.response_serializer),
    )


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """As `serialize`, but an answer that is bytes already passes as it is."""
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def reader(handler: Any, method: str) -> Read:
    """A function that makes a request of the bytes that came, within the bounds of its fields."""
    if handler.request_deserializer is None:
        return lambda requests, _: requests
    if handler.request_streaming:
        return _bounded

    def read(raw: bytes, context: Any) -> Any:
        bounds.check_size(method, len(raw))
        check_client(context)
        try:
            request = handler.request_deserializer(raw)
        except DecodeError:
            problem = FieldViolation("", "the request is no message of this method, or is nested a hundred deep")
            raise InvalidArgument([problem]) from None
        bounds.check(request)
        return request

    return read


async def _bounded(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """Pass the requests of a stream on, each within the bounds of its fields."""
    check_client(context)
    async for request in requests:
        bounds.check(request)
        yield request
