"""The client of a call: its jobs share the workers with those of other clients, and quotas count by it."""

from __future__ import annotations

from typing import Any

from mintage.identity import CLIENT_KEY, CLIENT_NAME

from service.api.requests.deadlines import deadline_of
from service.errors import FieldViolation, InvalidArgument
from service.models.asking.admission import Caller


def check_client(context: Any) -> None:
    """Refuse a call whose `mintage-client` is no client's name: it would count for nobody, or for somebody else.

    Raises:
        InvalidArgument: if it is none, or is there twice, as where a proxy adds its own to the caller's.
    """
    names = [value for key, value in context.invocation_metadata() or () if key == CLIENT_KEY]
    expected = ""
    if len(names) > 1:
        expected = "must be there once"
    elif not all(isinstance(name, str) and CLIENT_NAME.fullmatch(name) for name in names):
        expected = "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@' and '-'"
    if expected:
        raise InvalidArgument([FieldViolation(f"metadata.{CLIENT_KEY}", expected)])


def client_of(context: Any) -> str:
    """Return the name in the metadata `mintage-client`, or else the caller's address without the port.

    It proves nothing: a proxy that authenticates its callers should set it.
    """
    if context is None:
        return ""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY and isinstance(value, str) and CLIENT_NAME.fullmatch(value):
            return value
    kind, _, address = str(context.peer()).partition(":")
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind


def caller_of(context: Any, max_deadline_s: float) -> Caller:
    """Return the caller of a call that waits for a model: its client, and its deadline, capped."""
    return Caller(deadline_of(context, max_deadline_s), client_of(context))
