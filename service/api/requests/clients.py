"""The client of a call: its jobs share the workers with those of other clients, and quotas count by it."""

from __future__ import annotations

from typing import Any

from mintage.identity import CLIENT_KEY, CLIENT_NAME


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
