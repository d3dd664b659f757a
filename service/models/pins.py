"""Which models unfinished jobs still need.

A job uses one digest and no other. When a model is replaced or unloaded while unfinished jobs need its digest, its
record moves to `{archives}/retired/{backend name}.json`: the model server keeps it for them alone.
"""

from __future__ import annotations

from typing import Protocol


class Pins(Protocol):
    """Knows which models jobs need."""

    async def needed(self) -> frozenset[str] | None:
        """Backend names that unfinished jobs need; None if unknown now."""


class NoPins:
    """For a server without jobs."""

    async def needed(self) -> frozenset[str] | None:
        """No model is needed."""
        return frozenset()
