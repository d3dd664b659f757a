"""Who calls: what the fair share of the workers is counted by."""

from __future__ import annotations

import re
from typing import Any

CLIENT_KEY = "mintage-client"
_CLIENT = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)


def client_of(context: Any) -> str:
    """Return the name that the caller gives itself in metadata `mintage-client`, else its address without the port.

    It is no proof of who somebody is; whoever puts a proxy in front of the API lets that set it.
    """
    if context is None:
        return ""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY and isinstance(value, str) and _CLIENT.fullmatch(value):
            return value
    kind, _, address = str(context.peer()).partition(":")
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind
