"""How both clients connect."""

from __future__ import annotations

from typing import Any

from mintage._client.calls import Call
from mintage.errors import InputError
from mintage.identity import CLIENT_KEY, CLIENT_NAME

TIMEOUT_S = 60.0  # as long as the server's own limit on a call, MINTAGE_MAX_DEADLINE_S
MAX_MESSAGE_BYTES = 256 * 2**20  # four times the server's default: its limit is the one that counts

OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def metadata_of(name: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of every call of a client of this name; none if the name is empty.

    Raises:
        InputError: if the name is not 1 to 64 of the allowed characters.
    """
    if not name:
        return ()
    if not CLIENT_NAME.fullmatch(name):
        raise InputError(f"a client's name must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-', not {name!r}")
    return ((CLIENT_KEY, name),)


def callable_of(factory: Any, call: Call[Any]) -> Any:
    """The stub of a call's method; `factory` is a channel's `unary_unary` or `unary_stream`."""
    return factory(
        call.method,
        request_serializer=type(call.request).SerializeToString,
        response_deserializer=call.answer.FromString,
    )
