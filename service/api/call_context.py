"""The context of a call as servicers see it: gRPC's own, whose metadata are read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class CallContext:
    """What gRPC knows about one call.

    Args:
        context: gRPC's own. It makes the metadata anew whenever it is asked for them.
    """

    __slots__ = ("_context", "_metadata")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._metadata: Sequence[tuple[str, str | bytes]] = context.invocation_metadata() or ()

    def end(self) -> None:
        """Let go of gRPC's context: an aborted one keeps its error, whose frames keep the request and this object.

        Such a ring lasts until Python looks for rings, which an API does seldom, and requests may be large.
        """
        self._context = None

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return what the client sent with the call, as keys and values."""
        return self._metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
