"""Which models jobs still need, and the records of those that no name stands for any more.

A job uses one digest and no other. When a model is replaced or unloaded while unfinished jobs need its digest,
its record moves to `{archives}/retired/{backend name}.json`: the model server keeps it for them alone.
"""

from __future__ import annotations

from typing import Protocol


class Pins(Protocol):
    """Knows which models jobs need."""

    async def needed(self) -> frozenset[str] | None:
        """Backend names that unfinished jobs need; None if that is not known now."""


class NoPins:
    """There are no jobs."""

    async def needed(self) -> frozenset[str] | None:
        """None is needed."""
        return frozenset()
